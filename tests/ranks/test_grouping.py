"""Which ranks print the same, and which differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.ranks import grouping
from hpcbox.ranks.grouping import Grouping, template


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"step=12 loss=0.5", b"step=9 loss=1.25e-3"),
        (b"2026-11-22T04:26:07.12 ready", b"2025-01-02T23:59:59 ready"),
        (b"at 0x7f3a12 in f", b"at 0xdeadBEEF in f"),
        (b"connect 10.0.0.1:4711", b"connect 192.168.1.20:80"),
        (b"on node n002", b"on node n17"),
        (b"commit 8c1ee24a", b"commit 03a7eae1"),
        (b"12:01:02 up", b"1:02:03 up"),
    ],
)
def test_lines_that_differ_in_numbers_only_have_one_template(one: bytes, other: bytes) -> None:
    assert template(one) == template(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"step 1", b"stop 1"), (b"a 1", b"a 1 b"), (b"defaced", b"decade"), (b"", b"1")],
)
def test_lines_that_differ_in_words_have_two(one: bytes, other: bytes) -> None:
    assert template(one) != template(other)


def steps(count: int, seed: int = 0) -> list[bytes]:
    return [b"step %d loss 0.%d" % (step, step + seed) for step in range(count)]


def test_the_odd_ranks_stand_on_top_with_their_first_differing_line() -> None:
    ranks = Grouping()
    for rank in range(24):
        lines = [b"start %d" % rank, *steps(800, rank), b"done"]
        if rank == 17:
            lines[811:] = []
            lines[500] = b"ERROR timeout after 30 s"
        if rank == 3:
            lines[2] = b"warning: slow disk"
        ranks.feed(rank, lines)

    *odd, same = ranks.groups()

    assert [(group.ranks, group.line_number, group.line) for group in odd] == [
        ((3,), 3, b"warning: slow disk"),
        ((17,), 501, b"ERROR timeout after 30 s"),
    ]
    assert template(odd[1].others) == b"step # loss #"
    assert len(same.ranks) == 22
    assert (same.line_number, same.line, same.lines) == (None, b"done", 802)


def test_a_rank_that_is_behind_still_prints_the_same() -> None:
    ranks = Grouping()
    ranks.feed(0, steps(100))
    ranks.feed(1, steps(3))
    ranks.feed(2, [])

    (same,) = ranks.groups()

    assert (same.ranks, same.lines) == ((0, 1, 2), 100)


def test_a_rank_that_prints_something_new_where_the_others_stop_is_odd() -> None:
    grouping = Grouping()
    for rank in range(24):
        grouping.feed(rank, [b"step=%d loss=0.%d%d" % (step, step, rank) for step in range(5)])
    grouping.feed(17, [b"ERROR timeout"])

    odd, same = grouping.groups()

    assert (odd.ranks, odd.line_number, odd.line, odd.others) == ((17,), 6, b"ERROR timeout", b"")
    assert (len(same.ranks), same.lines) == (23, 5)

    for rank in range(24):
        grouping.feed(rank, [b"ERROR timeout"] if rank != 17 else [])
    assert len(grouping.groups()) == 1


def test_a_rank_that_is_ahead_with_lines_as_before_is_not_odd() -> None:
    grouping = Grouping()
    for rank in range(8):
        grouping.feed(rank, [b"begin", b"step 1"])
    grouping.feed(3, [b"step 2", b"step 3"])

    assert [group.ranks for group in grouping.groups()] == [tuple(range(8))]


def test_the_first_to_print_is_odd_when_the_most_print_something_else() -> None:
    ranks = Grouping()
    ranks.feed(0, [b"hello", b"I lead", b"more"])
    for rank in range(1, 5):
        ranks.feed(rank, [b"hello", b"I follow"])

    odd, same = ranks.groups()

    assert (odd.ranks, odd.line_number, odd.line, odd.others) == ((0,), 2, b"I lead", b"I follow")
    assert same.ranks == (1, 2, 3, 4)


def test_ranks_that_leave_together_are_one_group_and_return_never() -> None:
    ranks = Grouping()
    for rank in range(9):
        middle = b"other" if rank in (4, 6) else b"usual"
        ranks.feed(rank, [b"a", middle, b"z", b"own %s" % bytes([97 + rank])])
        ranks.feed(rank, [b"end"])

    odd = ranks.groups()[0]

    groups = {group.ranks: group.line_number for group in ranks.groups()}
    assert groups[4, 6] == 2
    assert odd.line_number is not None


def test_nobody_has_printed_yet() -> None:
    assert Grouping().groups() == ()


def test_what_is_long_past_is_forgotten_but_no_rank_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "HISTORY", 100)
    ranks = Grouping()
    for rank in range(3):
        ranks.feed(rank, steps(1000))
    ranks.feed(1, [b"odd"])
    ranks.feed(0, [b"usual"])
    ranks.feed(2, [b"usual"])

    odd, same = ranks.groups()

    assert (odd.ranks, odd.line_number, odd.others) == ((1,), 1001, b"usual")
    assert same.ranks == (0, 2)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(b"abc")), max_size=60))
def test_the_order_of_feeding_does_not_matter_and_each_rank_is_in_one_group(
    fed: list[tuple[int, int]],
) -> None:
    mixed, sorted_by_rank = Grouping(), Grouping()
    for rank, letter in fed:
        mixed.feed(rank, [bytes([letter])])
    for rank, letter in sorted(fed, key=lambda item: item[0]):
        sorted_by_rank.feed(rank, [bytes([letter])])

    found = mixed.groups()
    everybody = sorted(rank for group in found for rank in group.ranks)
    assert everybody == sorted({rank for rank, _ in fed})
    assert {group.ranks for group in found} == {g.ranks for g in sorted_by_rank.groups()}
    assert sum(group.line_number is None for group in found) == (1 if fed else 0)

"""What a step leaves on disk, read while it grows: state, bytes, lines, order, folders."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.ranks import files, folders, layout
from hpcbox.ranks.events import Events
from hpcbox.ranks.files import Growth, RankLines
from hpcbox.ranks.layout import ERR, OUT
from hpcbox.ranks.merge import MergedLines, MergedPieces
from hpcbox.ranks.reader import StepReader
from tests.services.step_folder import StepFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def step(tmp_path: Path) -> StepFolder:
    return StepFolder(tmp_path)


def merged(step: StepFolder, ranks: frozenset[int] | None = None) -> list[tuple[int, bytes]]:
    lines = MergedLines(step.folder, ranks)
    found = []
    while batch := lines.take(100):
        found += batch
    return [(line.rank, line.text) for line in found + lines.rest()]


def test_a_step_shows_its_facts_nodes_and_all_ranks_from_the_start(step: StepFolder) -> None:
    view = StepReader(step.folder).view()

    assert (view.facts.command, view.facts.image) == (("./train", "--fast"), "site/train:1")
    assert [(node.name, node.state) for node in view.nodes] == [("n1", ""), ("n2", "")]
    assert [(rank.rank, rank.state) for rank in view.ranks] == [(r, "waiting") for r in range(4)]
    assert not view.has_ended


def test_events_change_the_view_as_they_come(step: StepFolder) -> None:
    reader = StepReader(step.folder)
    step.event("n1", "node", state="pulling", done=5, total=9, image="site/train:1")
    before = reader.view()
    step.event("n1", "node", state="ready")
    step.event("n1", "rank", rank=2, state="exited", signal=11, pid=7)
    step.event("n2", "problem", text="disk full\x1b[2J")
    step.write(0, b"hello\n")
    after = reader.view()

    assert (before.nodes[0].state, before.nodes[0].done_bytes) == ("pulling", 5)
    assert (after.nodes[0].state, after.nodes[0].total_bytes) == ("ready", 9)
    rank = after.ranks[2]
    assert (rank.state, rank.node, rank.signal, rank.code, rank.pid) == (
        "exited",
        "n1",
        11,
        None,
        7,
    )
    assert rank.has_failed
    assert (after.ranks[0].state, after.ranks[0].out_bytes) == ("started", 6)
    assert after.problems == ("disk full\\x1b[2J",)


def test_a_step_has_ended_when_its_ranks_have(step: StepFolder) -> None:
    reader = StepReader(step.folder)
    step.end(ranks=3)
    three = reader.view()
    (step.path / "node-n1.jsonl").write_bytes(b"")
    step.end(ranks=4)

    assert three.has_ended, "both nodes say that they have ended"
    assert reader.view().has_ended


def test_a_torn_event_is_read_when_it_is_whole(step: StepFolder) -> None:
    reader = StepReader(step.folder)
    line = layout.event_line(1.0, "node", {"state": "ready"})
    step.raw_event("n1", line[:20])
    before = reader.view().nodes[0].state
    step.raw_event("n1", line[20:])

    assert (before, reader.view().nodes[0].state) == ("", "ready")


@pytest.mark.parametrize(
    "line",
    [b"\xff\n", b"[]\n", b"{}\n", b"null\n", b'{"event":"rank","rank":-1,"state":"started"}\n']
    + [b'{"event":"rank","rank":"3","state":"x"}\n', b'{"event":"node","state":[1]}\n']
    + [b'{"event":"rank","rank":1e99,"state":"started"}\n', b"[" * 60000 + b"\n", b"x" * 99999]
    + [
        b'{"event":"rank","rank":99999999999,"state":"started"}\n',
        b'{"t":"x","event":"problem"}\n',
    ],
)
def test_events_that_make_no_sense_change_no_rank(step: StepFolder, line: bytes) -> None:
    step.raw_event("n1", line)
    step.raw_event("n1", layout.event_line(1.0, "rank", {"rank": 1, "state": "started"}))

    view = StepReader(step.folder).view()

    assert [rank.rank for rank in view.ranks] == [0, 1, 2, 3]


@given(st.binary(max_size=200))
def test_any_bytes_are_no_crash_as_an_event(line: bytes) -> None:
    Events().feed("n1", line)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tasks": -3, "node_list": "n[1-"}', b"\xff", b"{"])
def test_a_step_file_that_is_broken_or_missing_is_a_step_without_facts(
    step: StepFolder, body: bytes
) -> None:
    (step.path / layout.STEP_FILE).write_bytes(body)
    step.write(1, b"x\n")

    view = StepReader(step.folder).view()

    assert [rank.rank for rank in view.ranks] == [1]
    assert view.facts.tasks == 0


def test_a_folder_that_is_not_there_is_an_empty_step(tmp_path: Path) -> None:
    reader = StepReader(str(tmp_path / "none"))

    assert (reader.view().ranks, reader.size(0), reader.read(0, OUT, 0, 9)) == ((), 0, b"")
    assert reader.tail(0) == []
    assert MergedLines(str(tmp_path / "none")).take() == []


def test_bytes_are_read_by_offset(step: StepFolder) -> None:
    reader = StepReader(step.folder)
    step.write(0, b"0123456789")
    step.write(0, b"errors", ERR)

    assert reader.read(0, OUT, 3, 4) == b"3456"
    assert reader.read(0, ERR, 3, 99) == b"ors"
    assert reader.read(0, OUT, 99, 4) == b""
    assert (reader.size(0), reader.size(0, ERR), reader.size(3)) == (10, 6, 0)


def test_something_else_in_a_files_place_is_no_output(step: StepFolder) -> None:
    os.mkfifo(step.path / "rank-00000.out")
    (step.path / "rank-00001.out").mkdir()
    reader = StepReader(step.folder)

    assert (reader.read(0, OUT, 0, 9), reader.read(1, OUT, 0, 9)) == (b"", b"")
    assert merged(step) == []


def test_lines_are_merged_in_the_order_of_time_and_torn_ones_are_joined(step: StepFolder) -> None:
    step.write(0, b"a1\na2-be")
    step.write(1, b"b1\n")
    step.write(3, b"c1\n", ERR)
    step.write(0, b"gun\na3\n")
    step.write(1, b"b2")

    assert merged(step) == [
        *((0, b"a1"), (1, b"b1"), (3, b"c1"), (0, b"a2-begun"), (0, b"a3"), (1, b"b2")),
    ]
    assert merged(step, frozenset((1,))) == [(1, b"b1"), (1, b"b2")]


def test_merged_lines_come_each_once_while_the_step_prints(step: StepFolder) -> None:
    lines = MergedLines(step.folder)
    found = []
    for number in range(50):
        step.write(number % 4, b"line %d\nand " % number)
        found += lines.take()
    found += lines.rest()

    whole = [line.text for line in found if b"line" in line.text]
    assert len(whole) == 50
    assert [line.time_ns for line in found[:50]] == sorted(line.time_ns for line in found[:50])


def test_an_index_that_is_cut_or_missing_loses_no_line(step: StepFolder) -> None:
    step.write(0, b"a1\n")
    step.write(1, b"b1\n")
    step.write(0, b"a2\n")
    step.write(0, b"a3\n", index=False)
    index = step.path / "node-n1.index"
    index.write_bytes(index.read_bytes()[:-5])
    (step.path / "node-n2.index").unlink()

    assert sorted(merged(step)) == [(0, b"a1"), (0, b"a2"), (0, b"a3"), (1, b"b1")]


def test_an_index_of_nonsense_is_no_crash_and_loses_no_line(step: StepFolder) -> None:
    step.write(0, b"a1\n")
    (step.path / "node-n1.index").write_bytes(os.urandom(32 * 99 + 7))
    (step.path / "node-n3.index").write_bytes(layout.RECORD.pack(1, 2**63, 2**32 - 1, 0, OUT))

    assert merged(step) == [(0, b"a1")]


def test_the_newest_blocks_come_without_the_old_ones(step: StepFolder) -> None:
    for number in range(100):
        step.write(0, b"line %d\n" % number)

    lines = MergedLines(step.folder, newest_blocks=3)

    assert [line.text for line in lines.take()] == [b"line 97", b"line 98", b"line 99"]
    assert lines.rest() == []


def test_a_piece_is_bounded_and_no_byte_is_lost_of_a_long_line(step: StepFolder) -> None:
    body = os.urandom(3_000_000).replace(b"\n", b" ")
    step.write(0, body + b"\nend\n")
    pieces = MergedPieces(step.folder)
    found = []
    while batch := pieces.take(2**18):
        assert sum(len(piece.data) for piece in batch) <= 2**19
        found += batch

    assert b"".join(piece.data for piece in found) == body + b"\nend\n"
    texts = [text for _, text in merged(step)]
    assert b"".join(texts) == body + b"end"
    assert max(map(len, texts)) <= files.LINE_LIMIT + 2**18


def test_a_file_that_is_cut_while_it_is_followed_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nhal")
    lines = RankLines(str(path))
    first = lines.take()
    path.write_bytes(b"new\n")

    assert (first, lines.take(), lines.take()) == ([b"one", b"two"], [b"new"], [])


def test_a_file_that_is_removed_and_made_again_while_it_is_followed_begins_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    lines = RankLines(str(path))
    before = lines.take()
    path.write_bytes(b"one\n")
    first = lines.take()
    path.rename(tmp_path / "old")
    gone = lines.take()
    path.write_bytes(b"longer than before\n")

    assert (before, first, gone) == ([], [b"one"], [])
    assert lines.take() == [b"longer than before"]


def test_growth_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 1000)
    growth = Growth(str(path))

    assert [len(growth.take(400)[0]) for _ in range(4)] == [400, 400, 200, 0]


@given(st.lists(st.sampled_from([b"", b"a", b"bb", b"c" * 70_000]), max_size=8), st.integers(0, 9))
def test_the_tail_is_the_last_lines_however_long_they_are(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], count: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "tail"
    path.write_bytes(b"\n".join(texts))
    expected = b"\n".join(texts).splitlines(keepends=True)[-count:] if count else []

    offset = files.tail_offset(str(path), count)

    assert path.read_bytes()[offset:] == b"".join(expected)


def test_a_search_finds_each_line_once_with_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"no\nyes and yes\n\nlast yes")

    found = list(files.search(str(path), re.compile(rb"yes")))

    assert found == [(3, b"yes and yes"), (16, b"last yes")]
    assert list(files.search(str(path), re.compile(rb"^l", re.MULTILINE))) == [(16, b"last yes")]
    assert [line for _, line in files.search(str(path), re.compile(b""))] == [
        *(b"no", b"yes and yes", b"", b"last yes"),
    ]


def test_a_search_goes_over_blocks_and_long_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = b"x" * 999 + b"\n"
    with open(path, "wb") as file:
        file.writelines([line] * 10_000)
        file.write(b"y" * 9_000_000 + b"\nfound\n")

    assert list(files.search(str(path), re.compile(b"found"))) == [(19_000_001, b"found")]


def test_the_newest_run_of_each_step_is_found_in_likely_places(tmp_path: Path) -> None:
    for name in ("hpcbox-12.0", "hpcbox-12.0-2", "hpcbox-12.10", "hpcbox-12.2", "hpcbox-1.0", "x"):
        (tmp_path / "work" / name).mkdir(parents=True)

    found = folders.find("12", places=[str(tmp_path / "none"), str(tmp_path / "work")])

    assert [(step.step, step.attempt) for step in found] == [("0", 2), ("2", 1), ("10", 1)]


def test_a_link_in_the_home_leads_to_the_folder_wherever_it_is(tmp_path: Path) -> None:
    far = tmp_path / "far" / "hpcbox-12.0-3"
    near = tmp_path / "near" / "hpcbox-12.0"
    far.mkdir(parents=True)
    near.mkdir(parents=True)
    for link, target in (("12.0", far), ("12.1", tmp_path / "gone"), ("13.0", near)):
        path = layout.registry_link(str(tmp_path), "lab", "12", "0").replace("12.0", link)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)

    found = folders.find("12", home=str(tmp_path), places=[str(near.parent)])

    assert [(step.step, step.folder) for step in found] == [("0", str(far))]
    assert folders.find("12", home=str(tmp_path), cluster="other") == ()

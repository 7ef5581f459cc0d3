"""Ranks to nodes, as srun's block distribution has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.errors import RequestError
from hpcbox.ranks.placement import place
from hpcbox.ranks.rank_environment import tasks_per_node

NODES = ("n1", "n2", "n3", "n4")


@pytest.mark.parametrize(
    ("tasks", "room", "expected"),
    [
        (4, None, [1, 1, 1, 1]),
        (6, None, [2, 2, 1, 1]),
        (2, None, [1, 1]),
        (8, 2, [2, 2, 2, 2]),
        (5, (4, 4, 4, 4), [4, 1]),
        (9, (4, 1, 2, 2), [4, 1, 2, 2]),
    ],
)
def test_ranks_stand_in_blocks(
    tasks: int, room: int | tuple[int, ...] | None, expected: list[int]
) -> None:
    shares = place(NODES, tasks, room)

    assert [share.count for share in shares] == expected
    assert [share.node for share in shares] == list(NODES[: len(expected)])


@given(nodes=st.integers(1, 40), tasks=st.integers(1, 300))
def test_every_rank_has_one_place(nodes: int, tasks: int) -> None:
    shares = place([f"n{number}" for number in range(nodes)], tasks)

    ranks = [rank for share in shares for rank in range(share.first, share.first + share.count)]
    assert ranks == list(range(tasks))
    assert [share.index for share in shares] == list(range(len(shares)))


@pytest.mark.parametrize(("tasks", "room"), [(0, None), (9, 2), (9, (2, 2, 2, 2)), (1, (1,))])
def test_ranks_without_room_are_refused(tasks: int, room: int | tuple[int, ...] | None) -> None:
    with pytest.raises(RequestError):
        place(NODES, tasks, room)


def test_tasks_per_node_is_written_as_slurm_does() -> None:
    assert tasks_per_node([4, 4, 4, 2]) == "4(x3),2"

"""Which rank runs on which node; pure.

Ranks stand in blocks, as srun's default distribution has them: the first node has the first ranks,
and nodes that can't have equally many differ by one, the larger ones first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcbox.errors import RequestError


@dataclass(frozen=True, slots=True)
class Share:
    """One node's part of a launch.

    Attributes:
        node: its name.
        index: its number in the launch, from 0.
        first: its lowest rank.
        count: how many ranks it has, at least one.
    """

    node: str
    index: int
    first: int
    count: int


def place(
    nodes: Sequence[str], tasks: int, tasks_per_node: int | Sequence[int] | None = None
) -> tuple[Share, ...]:
    """Return the share of each node that gets a rank.

    Args:
        nodes: names, in the allocation's order.
        tasks: number of ranks.
        tasks_per_node: at most so many a node, or the number for each node.

    Raises:
        RequestError: there are no ranks, no nodes, or not enough room.
    """
    if tasks < 1 or not nodes:
        raise RequestError(f"{tasks} ranks can't be placed on {len(nodes)} nodes")
    if tasks_per_node is None or isinstance(tasks_per_node, int):
        counts = _even(len(nodes), tasks, tasks_per_node)
    else:
        counts = _given(len(nodes), tasks, tasks_per_node)
    shares: list[Share] = []
    first = 0
    for node, count in zip(nodes, counts, strict=True):
        if count:
            shares.append(Share(node, len(shares), first, count))
        first += count
    return tuple(shares)


def _even(nodes: int, tasks: int, at_most: int | None) -> list[int]:
    base, larger = divmod(tasks, nodes)
    if at_most is not None and base + (larger > 0) > at_most:
        raise RequestError(
            f"{tasks} ranks don't fit on {nodes} nodes with {at_most} each",
            hint="ask for more nodes or fewer ranks",
        )
    return [base + (index < larger) for index in range(nodes)]


def _given(nodes: int, tasks: int, room: Sequence[int]) -> list[int]:
    if len(room) < nodes or sum(room[:nodes]) < tasks or min(room) < 0:
        raise RequestError(f"{tasks} ranks don't fit on {nodes} nodes with {list(room)} ranks each")
    counts = []
    for places in room[:nodes]:
        counts.append(min(places, tasks))
        tasks -= counts[-1]
    return counts

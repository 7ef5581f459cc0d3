"""Which ranks print the same, and which differ: pure and incremental.

Numbers, addresses and times are masked, which turns a line into a template; ranks whose sequences
of templates are equal, as far as each has come, print the same. Being ahead of the others is no
difference either, unless most have stopped at one line and the next one is of a new kind.
"""

import itertools
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# Hexadecimal numbers and words, and decimal ones with all that holds them together: that covers
# addresses and times.
_CHANGING = re.compile(
    rb"0[xX][0-9a-fA-F]+"
    rb"|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{6,}\b"
    rb"|[0-9]+(?:[.:,T/-][0-9]+)*(?:[eE][+-]?[0-9]+)?"
)
# Of a line so much is compared and kept.
LINE_BYTES = 500
# So many newest lines can still be compared with, in each branch; eight bytes each.
HISTORY = 500_000
# So many templates are remembered with a line that has them.
SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Group:
    """Ranks that have printed the same, or have left the others with the same line.

    Attributes:
        ranks: their numbers, ascending.
        lines: how many lines the furthest of them has printed.
        line_number: of the first line (from 1) that differs from the largest group's; None for the
            largest group itself.
        line: that line as one of them has printed it; of the largest group: its last.
        others: such a line as the largest group has in its place, empty where it has none yet.
    """

    ranks: tuple[int, ...]
    lines: int
    line_number: int | None
    line: bytes
    others: bytes


@dataclass(slots=True, eq=False)
class _Branch:
    """Lines that follow each other, as hashes of their templates; others branch off from it.

    Attributes:
        parent: what it has branched off from, None for the first.
        start: number of lines before its first one.
        line: its first line as printed.
        others: the line in the parent that it differs from.
        base: number of lines before the oldest hash that is kept.
        hashes: of the newest lines.
        children: (number of lines before, hash of the first) → branch.
    """

    parent: "_Branch | None"
    start: int
    line: bytes
    others: bytes
    base: int
    hashes: "array[int]"
    children: "dict[tuple[int, int], _Branch]" = field(default_factory=dict)


@dataclass(slots=True)
class _Place:
    """Where a rank is: how many lines it has printed, the last of them in this branch."""

    branch: _Branch
    lines: int = 0
    last: bytes = b""


class Grouping:
    """Takes lines as they come and says who prints the same."""

    def __init__(self) -> None:
        self._root = _Branch(None, 0, b"", b"", 0, array("q"))
        self._places: dict[int, _Place] = {}
        self._samples: dict[int, bytes] = {}

    def feed(self, rank: int, lines: Iterable[bytes]) -> None:
        """Take the next lines of a rank, in order."""
        place = self._places.get(rank)
        if place is None:
            place = self._places[rank] = _Place(self._root)
        samples = self._samples
        for text in lines:
            line = text[:LINE_BYTES]
            key = hash(template(line))
            if key not in samples and len(samples) < SAMPLES:
                samples[key] = line
            self._step(place, key, line)
            place.last = line

    def groups(self) -> tuple[Group, ...]:
        """Return all groups, the smallest (odd) first, the largest last."""
        if not self._places:
            return ()
        main = self._main_path()
        members: dict[_Point | None, list[int]] = {}
        for rank in sorted(self._places):
            members.setdefault(_left_at(self._places[rank], main), []).append(rank)
        ahead = self._ahead(members.get(None, []), main)
        if ahead is not None:
            members[None] = [rank for rank in members[None] if rank not in ahead.ranks]
        found = [self._group(point, ranks, main) for point, ranks in members.items()]
        if ahead is not None:
            found.append(ahead)
        return tuple(
            sorted(found, key=lambda g: (g.line_number is None, len(g.ranks), g.line_number or 0))
        )

    def _step(self, place: _Place, key: int, line: bytes) -> None:
        """Move a rank on by one line."""
        branch = place.branch
        at = max(0, place.lines - branch.base)
        if at == len(branch.hashes):
            branch.hashes.append(key)
            if len(branch.hashes) > 2 * HISTORY:
                del branch.hashes[:HISTORY]
                branch.base += HISTORY
        elif branch.hashes[at] != key:
            start = branch.base + at
            child = branch.children.get((start, key))
            if child is None:
                others = self._samples.get(branch.hashes[at], b"")
                child = _Branch(branch, start, line, others, start, array("q", (key,)))
                branch.children[start, key] = child
            place.branch = child
        place.lines += 1

    def _main_path(self) -> dict[_Branch, int | None]:
        """The branches that most ranks take, each with the line where they leave it (None: not)."""
        members: dict[_Branch, set[int]] = {}
        for rank, place in self._places.items():
            for branch in _ancestry(place.branch):
                members.setdefault(branch, set()).add(rank)
        path: dict[_Branch, int | None] = {self._root: None}
        branch = self._root
        while (parting := self._parting(branch, members)) is not None:
            path[branch], branch = parting.start, parting
            path[branch] = None
        return path

    def _parting(self, branch: _Branch, members: dict[_Branch, set[int]]) -> _Branch | None:
        """The first child that has more ranks than go on in the branch there, None for none."""
        staying = members[branch].copy()
        children = sorted(branch.children.values(), key=lambda child: child.start)
        for start, group in itertools.groupby(children, key=lambda child: child.start):
            leaving = list(group)
            staying.difference_update(*(members[child] for child in leaving))
            most = max(leaving, key=lambda child: _weight(members[child]))
            further = {
                rank
                for rank in staying
                if self._places[rank].branch is not branch or self._places[rank].lines > start
            }
            if _weight(members[most]) > _weight(further):
                return most
        return None

    def _ahead(self, ranks: list[int], main: dict[_Branch, int | None]) -> Group | None:
        """The ranks that went on, with a line like none before, where most have stopped."""
        counts = Counter(self._places[rank].lines for rank in ranks)
        reached, stopped = max(counts.items(), key=lambda item: item[1], default=(0, 0))
        branch = next(reversed(main))
        if 2 * stopped <= len(ranks) or reached < branch.start:
            return None
        further = tuple(rank for rank in ranks if self._places[rank].lines > reached)
        at = reached - branch.base
        if not further or not 0 <= at < len(branch.hashes):
            return None
        key = branch.hashes[at]
        if any(key in _travelled(passed, leaves, reached) for passed, leaves in main.items()):
            return None
        lines = max(self._places[rank].lines for rank in further)
        return Group(further, lines, reached + 1, self._samples.get(key, b""), b"")

    def _group(
        self, point: "_Point | None", ranks: list[int], main: dict[_Branch, int | None]
    ) -> Group:
        furthest = max((self._places[rank] for rank in ranks), key=lambda place: place.lines)
        numbers, lines = tuple(ranks), furthest.lines
        if point is None:
            return Group(numbers, lines, None, furthest.last, b"")
        branch, start = point
        if branch in main:
            # They have stayed, and most have left with this one.
            most = next(child for child in main if child.parent is branch)
            return Group(numbers, lines, start + 1, most.others, most.line)
        return Group(numbers, lines, start + 1, branch.line, branch.others)


# A branch, and how many lines were printed before its ranks and the most parted.
_Point = tuple[_Branch, int]


def _left_at(place: _Place, main: dict[_Branch, int | None]) -> _Point | None:
    """Where a rank has left the main path, None when it is still on it."""
    chain = [*_ancestry(place.branch)][::-1]
    for position, branch in enumerate(chain):
        if branch not in main:
            return branch, branch.start
        leaves = chain[position + 1].start if position + 1 < len(chain) else place.lines
        most_leave = main[branch]
        if most_leave is not None and leaves > most_leave:
            return branch, most_leave
    return None


def _travelled(branch: _Branch, leaves: int | None, end: int) -> "array[int]":
    """The hashes of a branch of the main path before a line; `leaves` is where the path goes on."""
    last = end if leaves is None else min(leaves, end)
    return branch.hashes[: max(0, last - branch.base)]


def _weight(ranks: set[int]) -> tuple[int, int]:
    """What is compared to find the most: of as many, those with the lowest rank."""
    return len(ranks), -min(ranks, default=0)


def _ancestry(branch: _Branch) -> Iterator[_Branch]:
    """A branch and what it has branched off from, up to the first."""
    following: _Branch | None = branch
    while following is not None:
        yield following
        following = following.parent


def template(line: bytes) -> bytes:
    """Return a line with numbers, hexadecimal words, addresses and times masked."""
    return _CHANGING.sub(b"#", line)

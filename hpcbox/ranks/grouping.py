"""Which ranks print the same, and which differ: pure and incremental.

Numbers, addresses and times are masked, which turns a line into a template; ranks whose sequences
of templates are equal, as far as each has come, print the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """Ranks that have printed the same.

    Attributes:
        ranks: their numbers, ascending.
        lines: how many lines the furthest of them has printed.
        line_number: of the first line (from 1) that differs from the largest group's; None for the
            largest group itself.
        line: that line as the group's first rank has printed it, b"" where it has ended before;
            of the largest group: its last line.
        others: the same line as the largest group has it, b"" where that has none.
    """

    ranks: tuple[int, ...]
    lines: int
    line_number: int | None
    line: bytes
    others: bytes


class Grouping:
    """Takes lines as they come and says who prints the same."""

    def feed(self, rank: int, lines: Iterable[bytes]) -> None:
        """Take the next lines of a rank, in order."""
        raise NotImplementedError

    def groups(self) -> tuple[Group, ...]:
        """Return all groups, the smallest (odd) first, the largest last."""
        raise NotImplementedError


def template(line: bytes) -> bytes:
    """Return a line with numbers, hexadecimal words, addresses and times masked."""
    raise NotImplementedError

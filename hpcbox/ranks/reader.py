"""Reads a step's folder while it grows: state, bytes by offset, lines as they come.

Nothing is trusted and nothing is loaded whole: events and indexes are read on from where the last
look ended, output is read by offset. Files may be missing, cut short or removed at any time; then
there is nothing to read, never an error.
"""

from dataclasses import dataclass

from hpcbox.ranks.layout import OUT
from hpcbox.ranks.step import StepView


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a rank has printed.

    Attributes:
        time_ns: nanoseconds since 1970 when its last byte was written, 0 when unknown.
        rank: who printed it.
        stream: layout.OUT or layout.ERR.
        text: its bytes, raw, without the newline; a line above 1 MiB comes in several.
    """

    time_ns: int
    rank: int
    stream: int
    text: bytes


class StepReader:
    """Looks into one step's folder, again and again; for one thread."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def view(self) -> StepView:
        """Return the step as it is now; reads only what came since the last call."""
        raise NotImplementedError

    def size(self, rank: int, stream: int = OUT) -> int:
        """Return how many bytes a rank has written, 0 when there is no file."""
        raise NotImplementedError

    def read(self, rank: int, stream: int, offset: int, size: int) -> bytes:
        """Return at most `size` bytes from an offset of a rank's file; b"" beyond its end."""
        raise NotImplementedError

    def path(self, rank: int, stream: int = OUT) -> str:
        """Return the path of a rank's file, whether it exists or not."""
        raise NotImplementedError

    def tail(self, rank: int, stream: int = OUT, lines: int = 10) -> list[bytes]:
        """Return a rank's last lines (of its last 64 KiB), an unfinished one included."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open."""
        raise NotImplementedError


class RankLines:
    """The lines of one rank's stream, in order, each once; starts again when the file is cut."""

    def __init__(self, path: str, *, offset: int = 0) -> None:
        raise NotImplementedError

    def take(self, limit_bytes: int = 2**20) -> list[bytes]:
        """Return the whole lines that came since the last call, without newlines, bounded."""
        raise NotImplementedError

    def rest(self) -> bytes:
        """Return the unfinished last line."""
        raise NotImplementedError


class MergedLines:
    """The lines of several ranks in the order of time, each once, as the nodes' indexes say."""

    def __init__(
        self, folder: str, ranks: frozenset[int] | None = None, *, newest_blocks: int | None = None
    ) -> None:
        """Start at the beginning, or with the newest blocks of each node; None is all ranks."""
        raise NotImplementedError

    def take(self, limit_bytes: int = 2**20) -> list[Line]:
        """Return the lines that came since the last call, bounded; [] when there are none now."""
        raise NotImplementedError

    def rest(self) -> list[Line]:
        """Return all unfinished lines, when no more will come."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open."""
        raise NotImplementedError

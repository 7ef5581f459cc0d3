"""Reads what a step's ranks print, as it comes, and tells it a few times a second."""

import time
from collections import deque

from hpcbox.views import (
    ERR,
    OUT,
    Group,
    Grouping,
    Line,
    MergedLines,
    RankLines,
    StepReader,
    StepView,
    open_step,
)
from hpcbox_tui.feed.watcher import Post, Watcher
from hpcbox_tui.messages import RanksChanged, Tail

# A line is on the screen within 50 ms; below that, looking again costs more than it shows.
_LOOK_SECONDS = 0.03
# Terminals and eyes get at most this many pictures a second.
_TELL_SECONDS = 0.15
# The share of a core that looking may take, however many ranks there are.
_CPU_SHARE = 0.1
# After this long without a line, looks become rarer.
_QUIET_SECONDS = 5.0
_TAIL_LINES = 100
_TAIL_BYTES = 8192
_MERGED_LINES = 5000
_MERGED_BLOCKS = 500
# What one look may read of one stream, so that a rank that floods doesn't hide the others.
_BYTES_A_LOOK = 2**18


class _Stream:
    """One stream of a rank, from a little before its present end on."""

    def __init__(self, reader: StepReader, rank: int, stream: int) -> None:
        size = reader.size(rank, stream)
        offset = max(0, size - _TAIL_BYTES)
        self._lines = RankLines(reader.path(rank, stream), offset=offset)
        # It starts somewhere inside a line.
        self._skip = offset > 0

    def take(self) -> list[bytes]:
        lines = self._lines.take(_BYTES_A_LOOK)
        if self._skip and lines:
            self._skip = False
            return lines[1:]
        return lines

    def rest(self) -> bytes:
        return b"" if self._skip else self._lines.rest()


class Tails:
    """The last lines of each rank, both streams together."""

    def __init__(self, reader: StepReader) -> None:
        self._reader = reader
        self._streams: dict[tuple[int, int], _Stream] = {}
        self._lines: dict[int, deque[bytes]] = {}
        self._sizes: dict[tuple[int, int], int] = {}
        self.tails: dict[int, Tail] = {}

    def read(self, view: StepView) -> bool:
        """Read on where files have another length; return whether there was anything."""
        changed = False
        for rank in view.ranks:
            new: list[bytes] = []
            has_grown = False
            for stream, size in ((OUT, rank.out_bytes), (ERR, rank.err_bytes)):
                key = (rank.rank, stream)
                if size != self._sizes.get(key, 0):
                    has_grown = True
                    new += self._take(key, size)
            if has_grown:
                self._keep(rank.rank, new)
                changed = True
        return changed

    def _take(self, key: tuple[int, int], size: int) -> list[bytes]:
        """Return the next lines of one file."""
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(self._reader, *key)
        lines = stream.take()
        if sum(map(len, lines)) < _BYTES_A_LOOK // 2:
            # Its end was reached; a file that has more is read on at the next look.
            self._sizes[key] = size
        return lines

    def _keep(self, rank: int, new: list[bytes]) -> None:
        """Make the rank's tail of its lines and of what its streams have begun."""
        lines = self._lines.setdefault(rank, deque(maxlen=_TAIL_LINES))
        lines.extend(new)
        begun = (self._streams.get((rank, stream)) for stream in (OUT, ERR))
        unfinished = b"".join(stream.rest() for stream in begun if stream is not None)
        self.tails[rank] = Tail(tuple(lines), unfinished)


class Comparison:
    """Reads all output from its start, and says which ranks print the same."""

    def __init__(self, reader: StepReader) -> None:
        self._reader = reader
        self._grouping = Grouping()
        self._lines: dict[int, RankLines] = {}
        self._sizes: dict[int, int] = {}
        self._taken = 0
        self.groups: tuple[Group, ...] = ()
        self.compared = 0.0

    def read(self, view: StepView) -> bool:
        """Read on, a part of each rank; return whether there was anything."""
        taken = 0
        for rank in view.ranks:
            lines = self._lines.get(rank.rank)
            if lines is None:
                lines = self._lines[rank.rank] = RankLines(self._reader.path(rank.rank, OUT))
            if rank.out_bytes == self._sizes.get(rank.rank, 0):
                continue
            new = lines.take(_BYTES_A_LOOK)
            if not new:
                # Its end, or an unfinished line.
                self._sizes[rank.rank] = rank.out_bytes
            else:
                self._grouping.feed(rank.rank, new)
                taken += sum(len(line) + 1 for line in new)
        self._taken += taken
        total = sum(rank.out_bytes for rank in view.ranks)
        compared = min(1.0, self._taken / total) if total else 1.0
        if taken or compared != self.compared:
            self.compared = compared
            self.groups = self._grouping.groups()
            return True
        return False


class RanksWatcher(Watcher):
    """Tells a screen what the ranks of one step print; only what it shows is read."""

    def __init__(self, post: Post, folder: str) -> None:
        super().__init__("hpcbox-ranks", post)
        self._folder = folder
        self._wants_merged = False
        self._wants_groups = False
        self._merged: MergedLines | None = None
        self._merged_lines: deque[Line] = deque(maxlen=_MERGED_LINES)
        self._comparison: Comparison | None = None
        self._reader = open_step(folder)
        self._tails = Tails(self._reader)
        self._view: StepView | None = None
        self._told_at = 0.0
        self._news_at = 0.0
        self._has_news = True

    def path(self, rank: int, stream: int) -> str:
        """Return the path of a rank's file."""
        return self._reader.path(rank, stream)

    def show_merged(self) -> None:
        """Also tell all lines by time, from now on."""
        self._wants_merged = True
        self.wake()

    def show_groups(self) -> None:
        """Also tell who prints the same, from now on."""
        self._wants_groups = True
        self.wake()

    def look(self) -> float:
        """Read what came, and tell it when it is time to."""
        now, cpu = time.monotonic(), time.thread_time()
        view = self._reader.view()
        if view != self._view:
            self._view, self._has_news = view, True
        if self._read(view):
            self._has_news, self._news_at = True, now
        if self._has_news and now - self._told_at >= _TELL_SECONDS:
            self._tell_all(view)
            self._told_at, self._has_news = now, False
        wait = 4 * _LOOK_SECONDS if now - self._news_at > _QUIET_SECONDS else _LOOK_SECONDS
        if self._has_news:
            # What comes until it may be told is told with it.
            wait = max(wait, self._told_at + _TELL_SECONDS - now)
        return max(wait, (time.thread_time() - cpu) / _CPU_SHARE)

    def _read(self, view: StepView) -> bool:
        changed = self._tails.read(view)
        if self._wants_merged:
            if self._merged is None:
                self._merged = MergedLines(self._folder, newest_blocks=_MERGED_BLOCKS)
            lines = self._merged.take(_BYTES_A_LOOK)
            if not lines and view.has_ended:
                lines = self._merged.rest()
            self._merged_lines.extend(lines)
            changed |= bool(lines)
        if self._wants_groups:
            if self._comparison is None:
                self._comparison = Comparison(self._reader)
            changed |= self._comparison.read(view)
        return changed

    def _tell_all(self, view: StepView) -> None:
        comparison = self._comparison
        self.tell(
            RanksChanged(
                view,
                dict(self._tails.tails),
                tuple(self._merged_lines),
                () if comparison is None else comparison.groups,
                0.0 if comparison is None else comparison.compared,
            )
        )

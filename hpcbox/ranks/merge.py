"""The output of several ranks as one stream of lines in the order of time."""

import heapq
import os
from dataclasses import dataclass

from hpcbox.ranks import files, layout

# So many records of a node's index are held at a time.
RECORDS_AT_ONCE = 4096
BLOCK_BYTES = 2**18


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


@dataclass(frozen=True, slots=True, order=True)
class _Block:
    """What an index says: until `end`, this file had been written at that time."""

    time_ns: int
    rank: int
    stream: int
    offset: int
    end: int


class _Index:
    """The records of one node's index, each once."""

    def __init__(self, path: str, newest: int | None) -> None:
        size = layout.RECORD.size
        skipped = 0 if newest is None else max(0, files.size_of(path) // size - newest)
        self._growth = files.Growth(path, skipped * size)
        self._torn = b""
        self._blocks: list[_Block] = []

    def first(self) -> _Block | None:
        """Return the next block without taking it, None when there is none now."""
        if not self._blocks:
            size = layout.RECORD.size
            found, has_begun_again = self._growth.take(RECORDS_AT_ONCE * size)
            found = found if has_begun_again else self._torn + found
            whole = len(found) - len(found) % size
            self._torn = found[whole:]
            self._blocks = [
                _Block(time_ns, rank, stream, offset, offset + length)
                for time_ns, offset, length, rank, stream in layout.RECORD.iter_unpack(
                    found[:whole]
                )
                if stream in layout.SUFFIXES
            ]
            # Taken from the end.
            self._blocks.reverse()
        return self._blocks[-1] if self._blocks else None

    def take(self) -> None:
        """Take the block that `first` has returned."""
        self._blocks.pop()


class MergedLines:
    """The lines of several ranks in the order of time, each once, as the nodes' indexes say.

    Across nodes the order is that of their clocks, among what has been written when it is taken.
    """

    def __init__(
        self, folder: str, ranks: frozenset[int] | None = None, *, newest_blocks: int | None = None
    ) -> None:
        """Start at the beginning, or with the newest blocks of each node; None is all ranks."""
        self._folder = folder
        self._ranks = ranks
        self._newest = newest_blocks
        self._indexes: dict[str, _Index] = {}
        self._read: dict[tuple[int, int], int] = {}
        self._torn: dict[tuple[int, int], bytes] = {}
        self._current: _Block | None = None

    def take(self, limit_bytes: int = 2**20) -> list[Line]:
        """Return the lines that came since the last call, bounded; [] when there are none now."""
        self._find_indexes()
        lines: list[Line] = []
        heap = [
            (block, name)
            for name, index in self._indexes.items()
            if (block := index.first()) is not None
        ]
        heapq.heapify(heap)
        taken = 0
        while taken < limit_bytes:
            if self._current is None:
                if not heap:
                    break
                self._current = self._next_block(heap)
            else:
                taken += self._read_block(self._current, lines)
        return lines

    def rest(self) -> list[Line]:
        """Return what no index tells of and all unfinished lines; when no more will come."""
        lines: list[Line] = []
        for rank, stream in sorted(self._files()):
            if self._newest is not None and (rank, stream) not in self._read:
                continue
            path = layout.rank_file(self._folder, rank, stream)
            while (size := files.size_of(path)) > self._read.get((rank, stream), 0):
                if not self._read_block(_Block(0, rank, stream, 0, size), lines):
                    break
        lines.extend(Line(0, *key, text) for key, text in sorted(self._torn.items()) if text)
        self._torn.clear()
        return lines

    def _next_block(self, heap: list[tuple[_Block, str]]) -> _Block | None:
        """The oldest of all nodes' next blocks, None for one that isn't wanted."""
        block, name = heap[0]
        self._indexes[name].take()
        following = self._indexes[name].first()
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following, name))
        return block if self._ranks is None or block.rank in self._ranks else None

    def _read_block(self, block: _Block, lines: list[Line]) -> int:
        """Read on in the block's file, by one piece; return how many bytes it had."""
        key = block.rank, block.stream
        start = self._read.get(key)
        if start is None:
            start = 0 if self._newest is None else block.offset
        path = layout.rank_file(self._folder, *key)
        # A record that was lost makes no hole: reading goes on where it ended.
        piece = files.read_at(path, start, max(0, min(BLOCK_BYTES, block.end - start)))
        self._read[key] = start + len(piece)
        if not piece or self._read[key] >= block.end:
            self._current = None
        *whole, torn = (self._torn.get(key, b"") + piece).split(b"\n")
        if len(torn) > files.LINE_LIMIT:
            whole.append(torn)
            torn = b""
        self._torn[key] = torn
        lines.extend(Line(block.time_ns, *key, text) for text in whole)
        return len(piece)

    def _find_indexes(self) -> None:
        for name in _names(self._folder):
            if name.startswith("node-") and name.endswith(".index") and name not in self._indexes:
                self._indexes[name] = _Index(f"{self._folder}/{name}", self._newest)

    def _files(self) -> list[tuple[int, int]]:
        found = map(layout.parse_rank_file, _names(self._folder))
        return [key for key in found if key and (self._ranks is None or key[0] in self._ranks)]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []

"""The output of several ranks as one stream of lines in the order of time."""

import heapq
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from hpcbox.ranks import files, layout

# So many records of a node's index are held at a time.
RECORDS_AT_ONCE = 4096
PIECE_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that a rank has written, at most 256 KiB.

    Attributes:
        time_ns: nanoseconds since 1970 when they were written, 0 when unknown.
        rank: who wrote them.
        stream: layout.OUT or layout.ERR.
        data: the bytes; a rank's pieces follow each other without a gap.
    """

    time_ns: int
    rank: int
    stream: int
    data: bytes


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


class MergedPieces:
    """What several ranks have written, each byte once, in the order of time.

    Across nodes the order is that of their clocks, among what has been written when it is taken.
    """

    def __init__(
        self,
        folder: str,
        ranks: frozenset[int] | None = None,
        *,
        streams: Collection[int] = tuple(layout.SUFFIXES),
        newest_blocks: int | None = None,
        offsets: Mapping[tuple[int, int], int] | None = None,
    ) -> None:
        """Start at the beginning, with the newest blocks of each node, or at offsets.

        Args:
            folder: the step's, which need not exist yet.
            ranks: whose output is wanted, None for everybody's.
            streams: layout.OUT, layout.ERR or both.
            newest_blocks: how many records of each index to begin with, None for all.
            offsets: (rank, stream) → where to begin in its file.
        """
        self._folder = folder
        self._ranks = ranks
        self._streams = streams
        self._newest = newest_blocks
        self._indexes: dict[str, _Index] = {}
        self._read = dict(offsets or {})
        self._current: _Block | None = None

    def take(self, limit_bytes: int = 2**20) -> list[Piece]:
        """Return what the indexes tell of since the last call, bounded; [] for nothing now."""
        self._find_indexes()
        pieces: list[Piece] = []
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
                piece = self._read_piece(self._current)
                if piece is None:
                    self._current = None
                else:
                    taken += len(piece.data)
                    pieces.append(piece)
        return pieces

    def take_unindexed(self, limit_bytes: int = 2**20) -> list[Piece]:
        """Return what is in the ranks' files beyond that, bounded; looks at every file."""
        pieces: list[Piece] = []
        taken = 0
        for rank, stream in sorted(self._files()):
            if self._newest is not None and (rank, stream) not in self._read:
                continue
            block = _Block(0, rank, stream, 0, sys.maxsize)
            while taken < limit_bytes and (piece := self._read_piece(block)) is not None:
                taken += len(piece.data)
                pieces.append(piece)
            if files.size_of(layout.rank_file(self._folder, rank, stream)) < self._read.get(
                (rank, stream), 0
            ):
                # It was cut; what comes now is new.
                self._read[rank, stream] = 0
        return pieces

    def _next_block(self, heap: list[tuple[_Block, str]]) -> _Block | None:
        """The oldest of all nodes' next blocks, None for one that isn't wanted."""
        block, name = heap[0]
        self._indexes[name].take()
        following = self._indexes[name].first()
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following, name))
        return block if self._is_wanted(block.rank, block.stream) else None

    def _read_piece(self, block: _Block) -> Piece | None:
        """Read on in the block's file, at most to the block's end; None when that is reached."""
        key = block.rank, block.stream
        # A record that was lost makes no hole: reading goes on where it ended.
        start = self._read.get(key)
        if start is None:
            start = 0 if self._newest is None else block.offset
        size = min(PIECE_BYTES, block.end - start)
        if size <= 0:
            return None
        data = files.read_at(layout.rank_file(self._folder, *key), start, size)
        self._read[key] = start + len(data)
        return Piece(block.time_ns, *key, data) if data else None

    def _find_indexes(self) -> None:
        for name in _names(self._folder):
            if name.startswith("node-") and name.endswith(".index") and name not in self._indexes:
                self._indexes[name] = _Index(f"{self._folder}/{name}", self._newest)

    def _files(self) -> list[tuple[int, int]]:
        found = map(layout.parse_rank_file, _names(self._folder))
        return [key for key in found if key is not None and self._is_wanted(*key)]

    def _is_wanted(self, rank: int, stream: int) -> bool:
        return stream in self._streams and (self._ranks is None or rank in self._ranks)


class LineCutter:
    """Cuts the pieces of several ranks into lines; what is torn waits for its rest."""

    def __init__(self) -> None:
        self._torn: dict[tuple[int, int], bytes] = {}

    def cut(self, pieces: Iterable[Piece]) -> list[Line]:
        """Return the lines that are whole now; one above 1 MiB comes in several."""
        lines: list[Line] = []
        for piece in pieces:
            key = piece.rank, piece.stream
            *whole, torn = (self._torn.get(key, b"") + piece.data).split(b"\n")
            if len(torn) > files.LINE_LIMIT:
                whole.append(torn)
                torn = b""
            self._torn[key] = torn
            lines.extend(Line(piece.time_ns, *key, text) for text in whole)
        return lines

    def rest(self) -> list[Line]:
        """Return all unfinished lines, when no more will come."""
        lines = [Line(0, *key, text) for key, text in sorted(self._torn.items()) if text]
        self._torn.clear()
        return lines


class MergedLines:
    """The lines of several ranks in the order of time; see MergedPieces."""

    def __init__(
        self, folder: str, ranks: frozenset[int] | None = None, *, newest_blocks: int | None = None
    ) -> None:
        """Start at the beginning, or with the newest blocks of each node; None is all ranks."""
        self._pieces = MergedPieces(folder, ranks, newest_blocks=newest_blocks)
        self._cutter = LineCutter()

    def take(self, limit_bytes: int = 2**20) -> list[Line]:
        """Return the lines that came since the last call, bounded; [] when there are none now."""
        while pieces := self._pieces.take(limit_bytes):
            if lines := self._cutter.cut(pieces):
                return lines
        return []

    def rest(self) -> list[Line]:
        """Return what no index tells of and all unfinished lines, when no more will come."""
        lines: list[Line] = []
        while pieces := self._pieces.take_unindexed():
            lines += self._cutter.cut(pieces)
        return lines + self._cutter.rest()


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []

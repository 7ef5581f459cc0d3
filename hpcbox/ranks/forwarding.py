"""From the spool's files to the launcher: blocks of output, as far as the launcher gives credit.

A launcher that doesn't want output gives none and costs nothing; one that is slow gets the rest
later, from the files. No rank ever waits for it. Only what a full disk can't keep goes past the
files, and then waits for the launcher.

Loaded on nodes: standard library only.
"""

import os

from hpcbox.ranks import frames, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hpcbox.ranks.outbox import Outbox
    from hpcbox.ranks.spool import Spool

_STREAMS = (layout.OUT, layout.ERR)


class Forwarder:
    """What of each rank's output the launcher has.

    Args:
        outbox: to the launcher.
        is_wanted: False makes every rank `CLOSED` as soon as its output is on file.
    """

    def __init__(self, outbox: "Outbox", *, is_wanted: bool) -> None:
        self._outbox = outbox
        self._is_wanted = is_wanted
        self._spool: Spool | None = None
        self._credit = 0
        self._offsets: dict[tuple[int, int], int] = {}
        # In the order in which they wait for their turn.
        self._behind: dict[tuple[int, int], None] = {}
        self._ended: set[int] = set()
        self._paused: dict[tuple[int, int], None] = {}

    def attach(self, spool: "Spool") -> None:
        """Say where the files are."""
        self._spool = spool

    def wrote(self, rank: int, stream: int) -> None:
        """Note that a stream's file has grown."""
        if self._is_wanted:
            self._behind[rank, stream] = None
            self.go_on()
        if rank in self._ended:
            self._close(rank)

    def onward(self, rank: int, stream: int, block: bytes) -> bool:
        """Send bytes that the disk didn't take; return whether more may come at once."""
        if not self._is_wanted:
            return True
        offset = self._offsets.get((rank, stream), 0)
        for start in range(0, len(block), frames.MAX_BLOCK):
            piece = block[start : start + frames.MAX_BLOCK]
            self._outbox.send(frames.encode(frames.OUTPUT, rank, stream, offset + start, piece))
        self._offsets[rank, stream] = offset + len(block)
        self._credit -= len(block)
        if self._credit > 0:
            return True
        self._paused[rank, stream] = None
        return False

    def grant(self, count: int) -> None:
        """Take `count` bytes of credit."""
        self._credit += count
        self.go_on()
        while self._paused and self._credit > 0 and self._spool is not None:
            key = next(iter(self._paused))
            del self._paused[key]
            self._spool.resume(*key)

    def ended(self, rank: int) -> None:
        """Note that a rank's process has ended and `Spool.end` has been called."""
        self._ended.add(rank)
        self._close(rank)

    def is_done(self, rank: int) -> bool:
        """Whether the launcher has, or doesn't want, all that a rank wrote."""
        spool = self._spool
        return spool is None or (
            spool.is_drained(rank)
            and not any((rank, stream) in self._behind for stream in _STREAMS)
        )

    def go_on(self) -> None:
        """Send what is behind, a block of each stream in turn, until the credit is used up."""
        while self._behind and self._credit > 0:
            key = next(iter(self._behind))
            del self._behind[key]
            if self._send_block(*key):
                self._behind[key] = None
            elif key[0] in self._ended:
                self._close(key[0])

    def _send_block(self, rank: int, stream: int) -> bool:
        """Send the next block of a stream; return whether it has more."""
        spool = self._spool
        if spool is None or spool.reader(rank, stream) < 0:
            return False
        offset = self._offsets.get((rank, stream), 0)
        length = spool.length(rank, stream)
        count = min(length - offset, frames.MAX_BLOCK, self._credit)
        if count <= 0:
            return False
        block = os.pread(spool.reader(rank, stream), count, offset)
        self._outbox.send(frames.encode(frames.OUTPUT, rank, stream, offset, block))
        self._credit -= len(block)
        self._offsets[rank, stream] = offset + len(block)
        # A file that somebody has cut short has no more.
        return bool(block) and offset + len(block) < length

    def _close(self, rank: int) -> None:
        if rank in self._ended and self.is_done(rank):
            self._ended.discard(rank)
            self._outbox.send(frames.encode(frames.CLOSED, rank))

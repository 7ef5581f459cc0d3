"""Passing a rank's bytes on to where Slurm wanted them: its pipe to srun, or a file of --output.

The bytes come from the rank's file, by offset, after they are in it: a consumer that is slow,
stopped or gone holds up nobody but itself. Only what could not be kept on disk is held here until
the consumer takes it.

Loaded on nodes: standard library only.
"""

import errno
import os
import select
import stat

from hpcbox.ranks.poller import WRITE
from hpcbox.ranks.spool import NO_SPLICE, enlarge, waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcbox.ranks.poller import Poller
    from hpcbox.ranks.spool import Spool

_BLOCK_BYTES = 2**20
# A full pipe whose reader is at work is looked at again when about half of it should be free: epoll
# would wake us for every page.
_MIN_PAUSE_SECONDS = 0.001
_MAX_PAUSE_SECONDS = 0.05
_ROOM_BYTES = 64 * 1024


class _Flow:
    """One stream on its way.

    Attributes:
        target: where it goes, -1 once that is closed or broken.
        is_pipe: whether the target takes pages by splice(2).
        position: bytes of the rank's file that were passed on.
        limit: bytes of the file that count for `is_done`; -1 while the rank runs.
        pause: seconds until the next look at a full target.
        pending: bytes that are in no file.
        room: bytes that the target holds while nobody reads it.
        waits: whether a timer or epoll will try again.
    """

    __slots__ = (
        "is_pipe",
        "key",
        "limit",
        "pause",
        "pending",
        "position",
        "room",
        "target",
        "waits",
    )

    def __init__(self, key: tuple[int, int], target: int) -> None:
        self.key = key
        self.target = target
        self.is_pipe = stat.S_ISFIFO(os.fstat(target).st_mode)
        self.position = 0
        self.limit = -1
        self.pause = _MIN_PAUSE_SECONDS
        self.pending = b""
        self.room = _ROOM_BYTES
        self.waits = False


class Onward:
    """All streams of a step on one node; `spool` is set once it is open.

    Args:
        poller: the event loop that everything happens in.
        moved: called with a rank some of whose bytes were passed on.
    """

    spool: "Spool"

    def __init__(self, poller: "Poller", moved: "Callable[[int], None]") -> None:
        self._poller = poller
        self._moved = moved
        self._flows: dict[tuple[int, int], _Flow] = {}

    def add(self, rank: int, stream: int, target: int) -> None:
        """Pass a stream on to a descriptor, which belongs to this object from now on."""
        flow = self._flows[rank, stream] = _Flow((rank, stream), target)
        if os.fstat(target).st_rdev == os.stat(os.devnull).st_rdev:
            self._drop(flow)
            return
        os.set_blocking(target, False)
        if flow.is_pipe:
            flow.room = enlarge(target)

    def wrote(self, rank: int, stream: int) -> None:
        """More of a stream is in its file."""
        flow = self._flows[rank, stream]
        if not flow.waits:
            self._attempt(flow, fresh=True)

    def direct(self, rank: int, stream: int, data: bytes) -> bool:
        """Take bytes that are in no file; return whether there is room for more."""
        flow = self._flows[rank, stream]
        if flow.target < 0:
            return True
        flow.pending += data
        if not flow.waits:
            self._attempt(flow, fresh=True)
        return not flow.pending

    def settle(self, rank: int) -> None:
        """A rank has ended and its bytes are on file: what its children add doesn't count."""
        for flow in self._of(rank):
            flow.limit = self.spool.length(*flow.key)

    def is_done(self, rank: int) -> bool:
        """Whether a settled rank's bytes were all taken by the consumer, or can't be.

        Bytes in the consumer's pipe don't count: slurmstepd was seen to lose some of a megabyte
        that it still had to read when the last task had ended.
        """
        return all(flow.target < 0 or _is_taken(flow) for flow in self._of(rank))

    def _of(self, rank: int) -> list[_Flow]:
        return [flow for key, flow in self._flows.items() if key[0] == rank]

    def _attempt(self, flow: _Flow, *, fresh: bool) -> None:
        """Pass on what the consumer takes; see to it that the rest is tried again."""
        before = flow.position, len(flow.pending)
        flow.waits = self._push(flow)
        moved = flow.position - before[0] + before[1] - len(flow.pending)
        if flow.waits and (fresh or moved):
            shorter = moved >= 2 * flow.room // 3
            longer = moved < flow.room // 3 and not fresh
            factor = 0.5 if shorter else 2 if longer else 1
            flow.pause = min(max(flow.pause * factor, _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS)
            self._poller.call_later(flow.pause, lambda: self._attempt(flow, fresh=False))
        elif flow.waits:
            # Nobody reads for now: a stopped viewer costs nothing.
            self._poller.watch(flow.target, lambda _events: self._writable(flow), WRITE)
        if moved:
            self._moved(flow.key[0])

    def _writable(self, flow: _Flow) -> None:
        self._poller.forget(flow.target)
        self._attempt(flow, fresh=True)

    def _push(self, flow: _Flow) -> bool:
        """Pass on until nothing is left; True: the consumer takes no more for now."""
        held = bool(flow.pending)
        blocked = False
        try:
            while flow.target >= 0 and self._step(flow):
                pass
        except BlockingIOError:
            blocked = True
        except OSError:
            # srun has gone, or its file's disk is full: the rank's own file has it all.
            self._drop(flow)
        if held and not flow.pending:
            self.spool.resume(*flow.key)
        return blocked

    def _step(self, flow: _Flow) -> bool:
        """Pass on one block; False when nothing is left."""
        count = min(self.spool.length(*flow.key) - flow.position, _BLOCK_BYTES)
        if count > 0:
            flow.position += self._from_file(flow, count)
        elif flow.pending:
            flow.pending = flow.pending[os.write(flow.target, flow.pending) :]
        else:
            return False
        return True

    def _from_file(self, flow: _Flow, count: int) -> int:
        file = self.spool.reader(*flow.key)
        if flow.is_pipe:
            try:
                moved = os.splice(
                    file, flow.target, count, flow.position, flags=os.SPLICE_F_NONBLOCK
                )
                return moved or _cut()
            except OSError as error:
                if error.errno not in NO_SPLICE:
                    raise
                flow.is_pipe = False
        data = os.pread(file, count, flow.position)
        return os.write(flow.target, data) if data else _cut()

    def _drop(self, flow: _Flow) -> None:
        self._poller.close_watched(flow.target)
        flow.target = -1
        flow.pending = b""


def _is_taken(flow: _Flow) -> bool:
    if flow.pending or not 0 <= flow.limit <= flow.position:
        return False
    return not flow.is_pipe or waiting(flow.target) == 0 or not _has_reader(flow.target)


def _has_reader(pipe: int) -> bool:
    """A pipe's write end reports an error, unasked, when nobody can read any more (poll(2))."""
    look = select.poll()
    look.register(pipe, 0)
    return not look.poll(0)


def _cut() -> int:
    raise OSError(errno.ENODATA, "somebody has cut the rank's file")

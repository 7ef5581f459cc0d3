"""The spool: takes what ranks write to their pipes and puts it into files, before anybody reads it.

One per step and node, in one thread's event loop. It moves blocks, never lines: splice(2) from the
pipe to the file where the file system can, else read and write. What it leaves on disk stands in
layout.py. Viewers and forwarders read the files by offset (`reader`, `length`), so none of them
can hold a rank up.

A stream whose file can't be written any more (full disk, quota, I/O error) goes past the disk: its
bytes are given to `onward` as they come. There a slow consumer does hold its rank up, as without a
spool.

Loaded on nodes: standard library only, no typing, json, enum or selectors.
"""

import errno
import os
import time
from fcntl import fcntl, ioctl

from hpcbox.ranks import layout
from hpcbox.ranks.poller import Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK_BYTES = 2**20
_PIPE_BYTES = 2**20
# A user has 64 MiB of pipes before the kernel makes all new ones tiny (pipe(7)): a quarter is ours.
_LARGE_PIPES = 16
_F_SETPIPE_SZ = 1031
_F_GETPIPE_SZ = 1032
_FIONREAD = 0x541B
_INDEX_SECONDS = 0.005
_INDEX_BYTES = 64 * 1024
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARED_FILE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
# What a file system answers that can't take pages of a pipe.
NO_SPLICE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class _Stream:
    """One pipe and its file.

    Attributes:
        source: the pipe's read end, -1 after its end.
        file: the rank's file, -1 if it couldn't be made.
        length: bytes in the file.
        passed: bytes that went past the file.
        direct: whether they do now.
        target: bytes that count for `is_drained`; -1 while the rank runs.
    """

    __slots__ = ("direct", "file", "length", "passed", "rank", "source", "stream", "target")

    def __init__(self, rank: int, stream: int, source: int, file: int) -> None:
        self.rank = rank
        self.stream = stream
        self.source = source
        self.file = file
        self.length = 0
        self.passed = 0
        self.direct = file < 0
        self.target = -1


class Spool:
    """The files of one step on one node.

    Args:
        folder: the step's folder, which exists (`folder.open_folder`).
        node: this node's name.
        poller: the event loop that everything happens in.
        wrote: called with (rank, stream) after bytes of it have reached the file, and at its end.
        problem: called with one line for the user about the first thing that can't be kept.
        onward: called with (rank, stream, bytes) for what can't be kept; False pauses the stream
            until `resume`. Without it such bytes are dropped.

    Raises:
        OSError: the index or the events can't be written.
    """

    def __init__(
        self,
        folder: str,
        node: str,
        poller: Poller,
        *,
        wrote: "Callable[[int, int], None]",
        problem: "Callable[[str], None]",
        onward: "Callable[[int, int, bytes], bool] | None" = None,
    ) -> None:
        self._folder = folder
        self._poller = poller
        self._wrote = wrote
        self._problem = problem
        self._onward = onward
        self._streams: dict[tuple[int, int], _Stream] = {}
        self._records = bytearray()
        self._splices = True
        self._told = False
        self._large_pipes = 0
        self._events = os.open(layout.events_file(folder, node), _SHARED_FILE, 0o666)
        self._index = os.open(layout.index_file(folder, node), _SHARED_FILE, 0o666)

    def add(self, rank: int, stream: int, source: int) -> None:
        """Take over the read end of a pipe or FIFO and write its bytes to the rank's new file."""
        os.set_blocking(source, False)
        if stream == layout.OUT and self._large_pipes < _LARGE_PIPES:
            self._large_pipes += 1
            enlarge(source)
        try:
            file = os.open(layout.rank_file(self._folder, rank, stream), _NEW_FILE, 0o666)
        except OSError as error:
            file = -1
            self._tell_disk(rank, error)
        item = self._streams[rank, stream] = _Stream(rank, stream, source, file)
        self._poller.watch(source, lambda _events: self._take(item))

    def end(self, rank: int) -> None:
        """Take what the pipes of a rank hold, whose process has ended.

        A pipe that a background child still holds open stays watched until its end.
        """
        for item in self._of(rank):
            item.target = item.length + item.passed + waiting(item.source)
            while item.source >= 0 and not _is_complete(item):
                if not self._take(item):
                    break

    def length(self, rank: int, stream: int) -> int:
        """Return how many bytes of a stream are in its file."""
        return self._streams[rank, stream].length

    def has(self, rank: int, stream: int) -> bool:
        """Whether a stream was added."""
        return (rank, stream) in self._streams

    def is_drained(self, rank: int) -> bool:
        """Whether all that a rank wrote before `end` is on file, or was given onward."""
        return all(_is_complete(item) for item in self._of(rank))

    def resume(self, rank: int, stream: int) -> None:
        """Go on with a stream that `onward` has paused."""
        item = self._streams[rank, stream]
        if item.source >= 0:
            self._poller.forget(item.source)
            self._poller.watch(item.source, lambda _events: self._take(item))

    def event(self, event: str, fields: "dict[str, str | int]") -> None:
        """Append to the node's events; see layout.py."""
        try:
            layout.append_event(self._events, layout.event_line(time.time(), event, fields))
        except OSError as error:
            self._tell(f"cannot keep what happens in {self._folder}: {error.strerror}")

    def reader(self, rank: int, stream: int) -> int:
        """Return the descriptor of a stream's file for pread(2) and sendfile(2); -1: no file."""
        return self._streams[rank, stream].file

    def flush(self) -> None:
        """Write the records of the index that are still held back, a few milliseconds' at most."""
        records, self._records = self._records, bytearray()
        try:
            if records:
                os.write(self._index, records)
        except OSError as error:
            self._tell(f"cannot keep the order of the output in {self._folder}: {error.strerror}")

    def close(self) -> None:
        """Write what the index lacks and close everything, pipes that are still open too."""
        self.flush()
        for item in self._streams.values():
            if item.source >= 0:
                self._poller.close_watched(item.source)
            if item.file >= 0:
                os.close(item.file)
        self._streams.clear()
        os.close(self._index)
        os.close(self._events)

    def _of(self, rank: int) -> list[_Stream]:
        keys = ((rank, layout.OUT), (rank, layout.ERR))
        return [self._streams[key] for key in keys if key in self._streams]

    def _take(self, item: _Stream) -> bool:
        """Move a block; return whether there may be another one at once."""
        if item.direct:
            return self._pass_on(item)
        try:
            count = self._move(item)
        except BlockingIOError:
            return False
        except OSError as error:
            self._give_up(item, error)
            return True
        if item.direct:
            return True
        if count == 0:
            self._finish(item)
            return False
        self._record(item, count)
        self._wrote(item.rank, item.stream)
        return True

    def _move(self, item: _Stream) -> int:
        """Move bytes from the pipe to the file; 0 at the pipe's end."""
        if self._splices:
            try:
                return os.splice(
                    item.source,
                    item.file,
                    _BLOCK_BYTES,
                    offset_dst=item.length,
                    flags=os.SPLICE_F_NONBLOCK,
                )
            except OSError as error:
                if error.errno not in NO_SPLICE:
                    raise
                self._splices = False
        data = os.read(item.source, _BLOCK_BYTES)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(item.file, data[written:], item.length + written)
        except OSError as error:
            if written:
                self._record(item, written)
                self._wrote(item.rank, item.stream)
            # Bytes that were read can't go back into the pipe.
            self._give_up(item, error)
            self._hand_over(item, data[written:])
        return written

    def _pass_on(self, item: _Stream) -> bool:
        try:
            data = os.read(item.source, _BLOCK_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._finish(item)
            return False
        return self._hand_over(item, data)

    def _hand_over(self, item: _Stream, data: bytes) -> bool:
        item.passed += len(data)
        if self._onward is not None and not self._onward(item.rank, item.stream, data):
            # Not even hang-ups, which epoll reports unasked, until `resume`.
            self._poller.forget(item.source)
            return False
        return True

    def _record(self, item: _Stream, count: int) -> None:
        if not self._records:
            self._poller.call_later(_INDEX_SECONDS, self.flush)
        self._records += layout.RECORD.pack(
            time.time_ns(), item.length, count, item.rank, item.stream
        )
        item.length += count
        if len(self._records) >= _INDEX_BYTES:
            self.flush()

    def _finish(self, item: _Stream) -> None:
        self._poller.close_watched(item.source)
        item.source = -1
        if item.target < 0:
            item.target = item.length + item.passed
        self._wrote(item.rank, item.stream)

    def _give_up(self, item: _Stream, error: OSError) -> None:
        item.direct = True
        self._tell_disk(item.rank, error)

    def _tell_disk(self, rank: int, error: OSError) -> None:
        self._tell(
            f"cannot keep the output of rank {rank} in {self._folder}: {error.strerror} — the ranks"
            " go on, what can't be kept is shown only"
        )

    def _tell(self, text: str) -> None:
        # The rest follows from the same full disk.
        if not self._told:
            self._told = True
            self._problem(text)
            self.event("problem", {"text": text})


def _is_complete(item: _Stream) -> bool:
    return item.source < 0 or 0 <= item.target <= item.length + item.passed


def enlarge(pipe: int) -> int:
    """Give a pipe room for a large block, if the user may have that; return its room in bytes."""
    try:
        return fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return fcntl(pipe, _F_GETPIPE_SZ)


def waiting(pipe: int) -> int:
    """Return how many bytes a pipe holds; 0 for one that is closed (-1)."""
    if pipe < 0:
        return 0
    return int.from_bytes(ioctl(pipe, _FIONREAD, bytes(4)), "little")

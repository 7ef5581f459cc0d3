"""A log of any size, read by offset: never whole, never longer lines than a screen can use.

Files are read, not mapped: a mapped file that somebody cuts short ends the process that looks at
it with SIGBUS (mmap(2)), and its pages count as this process's memory.
"""

import os
import stat

from hpcbox_tui.messages import LogLine

BLOCK_BYTES = 2**16
# A line above this is taken apart; the ends of a piece are as good as a newline.
LONGEST_LINE = 2**20
# What one window may read, however long its lines are.
_WINDOW_BYTES = 2**23
# How much of a line is kept to be shown.
_SHOWN_BYTES = 2**16


class LogFile:
    """A file that may grow, shrink, be replaced or vanish at any time; for one thread.

    Attributes:
        path: its name.
        size: its length in bytes when `look` was called last, 0 for none.
        problem: why it can't be read (any more), "" while it can.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self.problem = "not looked at"
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None

    def look(self) -> str:
        """Look at the file's state; return what happened to it, "" for nothing but growth."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            self.problem = error.strerror or str(error)
            return ""
        if not stat.S_ISREG(found.st_mode):
            self.problem = "is no regular file"
            return ""
        note = ""
        if (found.st_dev, found.st_ino) != self._identity:
            note = "" if self._identity is None else "was replaced by another file"
            self.close()
            self.problem = self._open()
            if self.problem:
                return ""
            self._identity = (found.st_dev, found.st_ino)
            self.size = 0
        self.problem = ""
        if found.st_size < self.size:
            note = "was cut short"
        self.size = found.st_size
        return note

    def _open(self) -> str:
        try:
            # A named pipe in the log's place must not block.
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._identity = None

    def read(self, offset: int, size: int) -> bytes:
        """Return at most `size` bytes; b"" where there are none (any more)."""
        if self._descriptor < 0:
            return b""
        try:
            return os.pread(self._descriptor, size, max(0, offset))
        except OSError:
            # ESTALE, EIO: the server has lost it; `look` says so.
            return b""

    def read_into(self, offset: int, buffer: bytearray) -> int:
        """Fill a buffer from an offset; return how many bytes there were."""
        if self._descriptor < 0:
            return 0
        try:
            return os.preadv(self._descriptor, [buffer], max(0, offset))
        except OSError:
            return 0

    def line_start(self, offset: int) -> int:
        """Return where the line begins that the byte at `offset` belongs to."""
        low = max(0, offset - LONGEST_LINE)
        end = offset
        while end > low:
            begin = max(low, end - BLOCK_BYTES)
            block = self.read(begin, end - begin)
            found = block.rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            if not block:
                break
            end = begin
        return low

    def back(self, offset: int, lines: int) -> int:
        """Return where the line begins that is `lines` above the line beginning at `offset`."""
        while lines > 0 and offset > 0:
            low = max(0, offset - BLOCK_BYTES)
            block = self.read(low, offset - low)
            # The newline that ends the line above isn't its start.
            starts = [low + at + 1 for at in _newlines(block[:-1])]
            if starts:
                taken = starts[-lines:]
                lines -= len(taken)
                offset = taken[0]
                continue
            offset = self.line_start(offset - 1)
            lines -= 1
        return offset

    def last_page(self, rows: int) -> int:
        """Return where the last `rows` lines begin."""
        end = self.size
        if end and self.read(end - 1, 1) != b"\n":
            # The unfinished last line is one of them.
            start = self.line_start(end)
            return self.back(start, rows - 1)
        return self.back(end, rows)

    def lines(self, offset: int, count: int) -> list[LogLine]:
        """Return at most `count` lines from an offset on, cut to what can be shown."""
        found: list[LogLine] = []
        data, at, read = b"", offset, 0
        while len(found) < count and read < _WINDOW_BYTES:
            block = self.read(at + len(data), BLOCK_BYTES)
            read += len(block)
            data += block
            *whole, data = data.split(b"\n")
            for raw in whole[: count - len(found)]:
                found.append(LogLine(at, _shown(raw)))
                at += len(raw) + 1
            if len(data) > LONGEST_LINE and len(found) < count:
                found.append(LogLine(at, _shown(data)))
                at, data = at + len(data), b""
            if not block:
                if data and len(found) < count:
                    found.append(LogLine(at, _shown(data)))
                break
        return found


def _newlines(block: bytes) -> list[int]:
    places, at = [], block.find(b"\n")
    while at >= 0:
        places.append(at)
        at = block.find(b"\n", at + 1)
    return places


def _shown(raw: bytes) -> bytes:
    if len(raw) <= _SHOWN_BYTES:
        return raw
    # The last form of a bar that is redrawn stands at the end of its line.
    return raw[-_SHOWN_BYTES:] if b"\r" in raw[-_SHOWN_BYTES:] else raw[:_SHOWN_BYTES]

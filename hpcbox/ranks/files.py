"""Reads files that others write, cut and remove meanwhile: by offset, by line, from the end.

A file is opened anew for each look: that is also what makes a network file system ask its server
how long the file is now. Nothing is mapped: a mapped file that is cut kills its reader.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator

# A line may have a megabyte; what is longer comes in pieces of this size.
LINE_LIMIT = 2**20
TAIL_BYTES = 2**16
SEARCH_BYTES = 2**22


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[int, os.stat_result] | None]:
    """Open a regular file, give its descriptor and state; None when there is no such file."""
    try:
        # A named pipe in its place must not make the reader wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        state = os.fstat(descriptor)
        yield (descriptor, state) if stat.S_ISREG(state.st_mode) else None
    finally:
        os.close(descriptor)


def read_at(path: str, offset: int, size: int) -> bytes:
    """Return at most `size` bytes from an offset; b"" beyond the end or when it can't be read."""
    with opened(path) as file, contextlib.suppress(OSError):
        if file is not None:
            return os.pread(file[0], size, offset)
    return b""


def size_of(path: str) -> int:
    """Return a regular file's length in bytes, 0 when there is none."""
    with opened(path) as file:
        return file[1].st_size if file is not None else 0


def tail(path: str, lines: int) -> list[bytes]:
    """Return the last lines of a file (of its last 64 KiB), an unfinished one included."""
    with opened(path) as file, contextlib.suppress(OSError):
        if file is not None:
            start = max(0, file[1].st_size - TAIL_BYTES)
            found = os.pread(file[0], TAIL_BYTES, start).split(b"\n")
            if not found[-1]:
                found.pop()
            if start and len(found) > 1:
                # The first one began earlier.
                del found[0]
            return found[-lines:] if lines > 0 else []
    return []


def tail_offset(path: str, lines: int) -> int:
    """Return where the last `lines` lines of a file begin; reads it backwards as far as needed."""
    with opened(path) as file, contextlib.suppress(OSError):
        if file is None:
            return 0
        descriptor, end = file[0], file[1].st_size
        if lines <= 0:
            return end
        # The newline that ends the last line begins no further one.
        wanted = lines + (os.pread(descriptor, 1, max(0, end - 1)) == b"\n")
        while end > 0:
            start = max(0, end - TAIL_BYTES)
            block = os.pread(descriptor, end - start, start)
            count = block.count(b"\n")
            if count >= wanted:
                for _ in range(wanted):
                    block = block[: block.rindex(b"\n")]
                return start + len(block) + 1
            wanted -= count
            end = start
    return 0


class Growth:
    """What is appended to a file, each byte once; begins again when it is cut or replaced."""

    def __init__(self, path: str, offset: int = 0) -> None:
        """Begin at an offset of a file that need not exist yet."""
        self.path = path
        self.offset = offset
        self._identity = (0, 0)

    def take(self, limit_bytes: int) -> tuple[bytes, bool]:
        """Return the next bytes, b"" for none, and whether the file has begun again before them."""
        with opened(self.path) as file, contextlib.suppress(OSError):
            if file is None:
                return b"", False
            descriptor, state = file
            identity = (state.st_dev, state.st_ino)
            is_other = self._identity not in ((0, 0), identity)
            self._identity = identity
            has_begun_again = is_other or state.st_size < self.offset
            if has_begun_again:
                self.offset = 0
            block = b""
            if state.st_size > self.offset:
                block = os.pread(descriptor, limit_bytes, self.offset)
                self.offset += len(block)
            return block, has_begun_again
        return b"", False


class RankLines:
    """The lines of one file, in order, each once; begins again when it is cut or replaced."""

    def __init__(self, path: str, *, offset: int = 0) -> None:
        """Begin at an offset, which should be a line's beginning."""
        self._growth = Growth(path, offset)
        self._torn = b""

    def take(self, limit_bytes: int = 2**20) -> list[bytes]:
        """Return the whole lines that came since the last call, without newlines, bounded."""
        block, has_begun_again = self._growth.take(limit_bytes)
        if has_begun_again:
            self._torn = b""
        if not block:
            return []
        *lines, self._torn = (self._torn + block).split(b"\n")
        while len(self._torn) > LINE_LIMIT:
            lines.append(self._torn[:LINE_LIMIT])
            self._torn = self._torn[LINE_LIMIT:]
        return lines

    def rest(self) -> bytes:
        """Return the unfinished last line."""
        return self._torn


def search(path: str, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give (offset, line) of each line that has a match, without its newline.

    Args:
        path: a file of any size; it is read in blocks of 4 MiB.
        pattern: compiled with re.MULTILINE if it has ^ or $; matches must lie within a line.
    """
    offset = 0
    while block := read_at(path, offset, SEARCH_BYTES):
        end = block.rfind(b"\n") + 1
        if not end or len(block) < SEARCH_BYTES:
            # The last line, or one that is longer than a block.
            end = len(block)
        yield from _matches(block, end, offset, pattern)
        offset += end


def _matches(
    block: bytes, end: int, offset: int, pattern: re.Pattern[bytes]
) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < end and (match := pattern.search(block, position, end)):
        start = block.rfind(b"\n", 0, match.start()) + 1
        stop = block.find(b"\n", match.start(), end)
        stop = end if stop < 0 else stop
        if start == end:
            # An empty match behind the last newline.
            return
        yield offset + start, block[start:stop]
        position = stop + 1

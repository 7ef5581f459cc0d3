"""Writing large files past the page cache.

A node that pulls gigabytes has better use for its memory: the pages would push out what its jobs
read, count as memory of the job that pulls, and take longer to fill than the disk takes to write
(contrib/decisions/0008). Elsewhere than on a disk of this machine pages are used: a server on the
network would answer each piece by itself.
"""

import errno
import fcntl
import mmap
import os

from hpcbox import kernel

# Holes begin and end at multiples of this.
_PART_BYTES = 2**16
# So much of a hostile layer may be read before anybody looks at it.
_BUFFER_BYTES = 2**19
# Shorter runs of zeros are cheaper written than left out.
_LEAST_HOLE = 2**14
# What direct I/O wants positions to be multiples of, nearly everywhere.
_PAGE = 4096
_ZEROS = bytes(2**20)
# linux/magic.h: ext2 to ext4, XFS, Btrfs, F2FS, bcachefs.
_ON_DISKS = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0xCA451A4E})


class DirectFile:
    """A new file that takes bytes one behind the other; its owner closes it.

    Runs of zeros become holes.

    Attributes:
        buffer: what is not written yet.
        used: how many bytes of it.
    """

    def __init__(self, file: int, start: int = 0) -> None:
        """Write into an open, empty file, from a multiple of 4096 bytes on."""
        self._file = file
        # Direct I/O wants memory that begins at a page.
        self.buffer = mmap.mmap(-1, _BUFFER_BYTES)
        self.used = 0
        # Where the buffer goes.
        self._position = start
        if kernel.file_system_type(file) in _ON_DISKS:
            self._set_direct(wanted=True)

    @property
    def room(self) -> int:
        """How many bytes the buffer takes before it is written."""
        return _BUFFER_BYTES - self.used

    def append(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            OSError: the disk can't take them.
        """
        taken = 0
        while taken < len(piece):
            if not self.room:
                self.flush()
            step = min(len(piece) - taken, self.room)
            end = self.used + step
            # Most pieces fit: then nothing is copied twice.
            self.buffer[self.used : end] = (
                piece if step == len(piece) else piece[taken : taken + step]
            )
            self.used = end
            taken += step

    def fill_to(self, position: int) -> None:
        """Go on at a later position; what lies before it is zeros.

        Raises:
            OSError: the disk can't take them.
        """
        missing = position - self._position - self.used
        if missing < _LEAST_HOLE:
            self.append(_ZEROS[:missing])
            return
        self.append(_ZEROS[: -self.used % _PAGE])
        self.flush()
        missing = position - self._position
        self._position += missing & -_PAGE
        self.append(_ZEROS[: missing % _PAGE])

    def finish(self) -> int:
        """Write what is left; return the size of the file.

        Raises:
            OSError: the disk can't take it.
        """
        # What is left is no whole number of blocks.
        self._set_direct(wanted=False)
        self.flush()
        os.ftruncate(self._file, self._position)
        return self._position

    def flush(self) -> None:
        """Write what the buffer holds.

        Raises:
            OSError: the disk can't take it.
        """
        if self.used % _PAGE:
            # What comes behind an end like this is written in pages.
            self._set_direct(wanted=False)
        with memoryview(self.buffer) as content:
            begin = 0
            for start in range(0, self.used, _PART_BYTES):
                end = min(start + _PART_BYTES, self.used)
                with content[start:end] as part:
                    is_left_out = is_hole(part)
                if is_left_out:
                    self._write(content, begin, start)
                    begin = end
            self._write(content, begin, self.used)
        self._position += self.used
        self.used = 0

    def _write(self, content: memoryview, begin: int, end: int) -> None:
        written = begin
        while written < end:
            try:
                with content[written:end] as rest:
                    written += os.pwrite(self._file, rest, self._position + written)
            except OSError as error:
                # This file system wants larger blocks, or a short write has left us between two.
                if error.errno != errno.EINVAL or not self._set_direct(wanted=False):
                    raise

    def _set_direct(self, *, wanted: bool) -> bool:
        """Switch direct I/O on or off; say whether that has changed anything."""
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        new = flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT
        if new == flags:
            return False
        try:
            fcntl.fcntl(self._file, fcntl.F_SETFL, new)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True


def is_hole(piece: bytes | memoryview) -> bool:
    """Say whether a piece of content holds zeros only, and enough of them to leave it out."""
    # memcmp(3) of what is alike, and no further than to the first other byte.
    return _LEAST_HOLE <= len(piece) <= len(_ZEROS) and _ZEROS.startswith(piece)

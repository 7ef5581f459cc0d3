"""Writing the content of files where an image speaks of it: large pieces, holes for zeros."""

import os
from collections.abc import Iterable
from mmap import mmap

from hpcbox.image.source import ByteStream
from hpcbox.rootfs.direct import DirectFile, is_hole

_READ_ONLY = 0o444
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 2**20
_PAGE = 4096


def new_file(path: str) -> int:
    """Return a descriptor of a new file of a layer, for reading and writing."""
    return os.open(path, _NEW, _READ_ONLY)


class KeptTar:
    """A tar that is written to a file, which this object owns, as it is read.

    A reader finds it in the buffer that it is written from, half a mebibyte at a time: nothing is
    copied for the reader, and many headers are looked at in one go.
    """

    def __init__(self, source: ByteStream, file: int) -> None:
        self._source = source
        self._descriptor = file
        self._file = DirectFile(file)

    def fill(self) -> tuple[mmap, int]:
        """Return the next bytes as a reader of tars wants them."""
        file = self._file
        file.flush()
        while file.room:
            piece = self._source.read(min(_PIECE, file.room))
            if not piece:
                break
            file.append(piece)
        return file.buffer, file.used

    def finish(self) -> int:
        """Read to the end; return the size of the file, which is complete then."""
        while self.fill()[1]:
            pass
        return self._file.finish()

    def close_file(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class ContentFile:
    """A file, owned by this object, that takes the content of files one behind the other.

    Each begins at a multiple of 4096 bytes: of a block of erofs and of a page.
    """

    def __init__(self, file: int, start: int) -> None:
        self._descriptor = file
        self._file = DirectFile(file, start)
        # Where the next content goes.
        self._end = start

    def add(self, size_bytes: int, pieces: Iterable[tuple[int, bytes]]) -> int:
        """Write a file's content, given as (offset, bytes) in order; return where it begins."""
        begin = self._end
        for offset, piece in pieces:
            if not is_hole(piece):
                self._file.fill_to(begin + offset)
                self._file.append(piece)
        self._end = begin + -(-size_bytes // _PAGE) * _PAGE
        return begin

    def finish(self) -> int:
        """Write what is left; return the size of the file."""
        self._file.fill_to(self._end)
        return self._file.finish()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def write_at(file: int, content: bytes | bytearray, position: int) -> None:
    """Write all of it, however much one call takes."""
    with memoryview(content) as view:
        written = 0
        while written < len(view):
            written += os.pwrite(file, view[written:], position + written)

"""Files and folders of this machine that images are read from, as the account that runs this."""

import os
import stat
from collections.abc import Sequence

from hpcbox.errors import DigestMismatch, ImageError, ImageNotFound, PermissionRefused, shorten


def refused(path: str, error: OSError) -> ImageError | PermissionRefused:
    """Return the error for a path that can't be read."""
    shown = shorten(path, 160)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ImageNotFound(f"there is no {shown}", hint="check the image's path")
    if isinstance(error, PermissionError):
        return PermissionRefused(
            f"cannot read {shown}: {error.strerror}", hint="the image must be readable by you"
        )
    return ImageError(f"cannot read {shown}: {error.strerror}")


def open_file(path: str) -> tuple[int, os.stat_result]:
    """Open a file for reading; return its descriptor and what it is.

    Raises:
        ImageError, PermissionRefused: it can't be read, or is no plain file.
    """
    try:
        # A fifo or a device would hold up its opener.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise refused(path, error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no file"
        raise ImageError(f"{shorten(path, 160)} is {kind}", hint="a file is meant")
    return descriptor, status


class Part:
    """A part of a file as a ByteStream; shorter when the file is."""

    def __init__(self, path: str, offset: int = 0, size: int | None = None) -> None:
        """Open the file anew; `size` None is all that follows."""
        self._path = path
        self._descriptor, status = open_file(path)
        self._offset = offset
        self._end = status.st_size if size is None else offset + size

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end.

        Raises:
            ImageError: the disk fails.
        """
        wanted = min(size, self._end - self._offset)
        try:
            piece = os.pread(self._descriptor, max(wanted, 0), self._offset)
        except OSError as error:
            raise ImageError(f"cannot read {shorten(self._path, 160)}: {error.strerror}") from error
        self._offset += len(piece)
        return piece

    def windows(self, windows: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return pieces (offset, length), and close the file."""
        begin = self._offset
        found = []
        try:
            for offset, length in windows:
                self._offset = begin + offset
                found.append(self.read(length))
        finally:
            self.close()
        return found

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def abort(self) -> None:
        """Do nothing: a read of a file is waited for by nobody for long."""


def read_whole(path: str, limit: int, what: str) -> bytes:
    """Return the content of a small file.

    Raises:
        ImageError, PermissionRefused: it can't be read, or has more than `limit` bytes.
    """
    part = Part(path)
    try:
        return read_limited(part, limit, what)
    finally:
        part.close()


def read_limited(part: Part, limit: int, what: str) -> bytes:
    """Return all of a part; raises ImageError when it has more than `limit` bytes."""
    content = bytearray()
    while piece := part.read(limit + 1 - len(content)):
        content += piece
    if len(content) > limit:
        raise ImageError(f"{what} has more than {limit} bytes")
    return bytes(content)


def changed(path: str) -> DigestMismatch:
    """Return the error for something that was altered between two looks at it."""
    return DigestMismatch(
        f"{shorten(path, 200)} has changed while it was read",
        hint="try again when nothing writes to it",
    )

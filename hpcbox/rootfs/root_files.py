"""Reading files of a container's root without entering it: mounted, or as layers in a store.

Paths are absolute, as a process with this root would write them; symlinks are followed inside the
root alone, as that process would (Debian's alternatives are absolute links). Only regular files are
opened. Loaded on nodes: standard library only.
"""

import errno
import os
import stat

from hpcbox import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from hpcbox.rootfs.stack import Stack

    class RootFiles(Protocol):
        """The files of one root."""

        def open(self, path: str) -> int:
            """Open a regular file for reading; the descriptor is the caller's.

            Raises:
                OSError: there is none, or it can't be read.
            """

        def names(self, folder: str) -> list[str]:
            """Return the names in a folder, at most MAXIMUM_NAMES, in no order.

            Raises:
                OSError: there is no such folder, or it can't be read.
            """


MAXIMUM_NAMES = 50_000
_MAXIMUM_SYMLINKS = 40
_MAXIMUM_PARTS = 1000
# A FIFO would wait for a writer.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class MountedRoot:
    """The files below a descriptor of a root folder, which stays the caller's.

    The kernel resolves paths (openat2(2), RESOLVE_IN_ROOT).
    """

    def __init__(self, descriptor: int) -> None:
        self._root = descriptor

    def open(self, path: str) -> int:
        """Open a regular file for reading; see RootFiles."""
        return _only_file(self._open(path, _FILE))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; see RootFiles."""
        descriptor = self._open(folder, _FOLDER)
        try:
            with os.scandir(descriptor) as entries:
                return [entry.name for entry, _ in zip(entries, range(MAXIMUM_NAMES), strict=False)]
        finally:
            os.close(descriptor)

    def _open(self, path: str, flags: int) -> int:
        resolve = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
        return kernel.openat2(self._root, path, flags, resolve)


class StackedRoot:
    """The files that a stack of layers would show once it is mounted."""

    def __init__(self, stack: "Stack") -> None:
        self._stack = stack

    def open(self, path: str) -> int:
        """Open a regular file for reading; see RootFiles."""
        return _only_file(self._stack.open(self._real(path)))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; see RootFiles."""
        return [os.fsdecode(name) for name in self._stack.names(self._real(folder), MAXIMUM_NAMES)]

    def _real(self, path: str) -> bytes:
        """Return a path without symlinks; `..` at the root stays there, as in a real root."""
        real: list[bytes] = []
        left = os.fsencode(path).split(b"/")[::-1]
        symlinks = parts = 0
        while left:
            part = left.pop()
            parts += 1
            if part == b"..":
                del real[-1:]
            if part in (b"", b".", b".."):
                continue
            found = self._stack.look(b"/".join([*real, part]))
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if found.kind != stat.S_IFLNK:
                real.append(part)
                continue
            symlinks += 1
            if symlinks > _MAXIMUM_SYMLINKS or parts > _MAXIMUM_PARTS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if found.target.startswith(b"/"):
                real.clear()
            left += found.target.split(b"/")[::-1]
        return b"/".join(real)


def _only_file(descriptor: int) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file")

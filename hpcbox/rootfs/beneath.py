"""Folders of a layer by descriptor: the only way that unpacking reaches a name from a tar.

The kernel opens a parent folder beneath the layer's root without following any symlink
(openat2(2)); the entry itself is then made relative to that descriptor and never resolved. Only
when that fails the path is walked part by part: missing folders are made, and a symlink of the
same layer is followed the way a process with this root would see it, except that a climb above the
root is refused where such a process would stay at it.
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Callable

from hpcbox import kernel
from hpcbox.errors import LayerRejected
from hpcbox.rootfs import whiteouts
from hpcbox.rootfs.notes import Notes

MAXIMUM_DEPTH = 256
"""Folders inside each other; removing such a tree takes as many open descriptors."""

_MAXIMUM_PATH = 4095
_MAXIMUM_NAME = 255
_MAXIMUM_SYMLINKS = 40
# Forty targets of four kilobytes could keep us busy for a second, for each entry anew.
_MAXIMUM_STEPS = 4 * MAXIMUM_DEPTH
_CACHED = 64
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_MAGICLINKS | kernel.RESOLVE_NO_SYMLINKS


def clean(name: bytes, what: bytes) -> bytes:
    """Return a tar's path relative to the layer's root, without empty parts; b"" is the root.

    `what` is the entry it belongs to, for the error.

    Raises:
        LayerRejected: the path is absolute, climbs with `..`, or is one that no file can have.
    """
    if b"\0" in name:
        raise rejected(what, "its path holds a NUL byte")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if name.startswith(b"/") and parts:
        raise rejected(what, "its path is absolute")
    if b".." in parts:
        raise rejected(what, "its path leads out of the image with '..'")
    if len(name) > _MAXIMUM_PATH or any(len(part) > _MAXIMUM_NAME for part in parts):
        raise rejected(what, "its path is longer than Linux allows")
    if len(parts) > MAXIMUM_DEPTH:
        raise rejected(what, f"it lies more than {MAXIMUM_DEPTH} folders deep")
    return b"/".join(parts)


def check_real(path: bytes, entry: bytes) -> None:
    """Check the real path of what is to be made: a symlink may lead elsewhere than `entry` says.

    Raises:
        LayerRejected: it is deeper or longer than a path in a tar may be, or a whiteout's.
    """
    if whiteouts.is_reserved(path.rpartition(b"/")[2]):
        raise rejected(entry, "a whiteout on its path is no folder")
    if path.count(b"/") >= MAXIMUM_DEPTH:
        raise rejected(entry, f"it lies more than {MAXIMUM_DEPTH} folders deep")
    if len(path) > _MAXIMUM_PATH:
        raise rejected(entry, "its path is longer than Linux allows")


def rejected(entry: bytes, reason: str) -> LayerRejected:
    """Return the error for an entry that may not be unpacked."""
    return LayerRejected(os.fsdecode(entry), reason)


class _Walk:
    """Counts what it takes to follow an entry's path through symlinks, and ends it in time.

    Attributes:
        symlinks: how many have been followed.
    """

    __slots__ = ("_entry", "_steps", "symlinks")

    def __init__(self, entry: bytes) -> None:
        self._entry = entry
        self._steps = 0
        self.symlinks = 0

    def step(self) -> None:
        """Count a part of the path, or of a symlink's target.

        Raises:
            LayerRejected: these are too many.
        """
        self._steps += 1
        if self._steps > _MAXIMUM_STEPS:
            raise rejected(self._entry, "its path and the symlinks on it have too many parts")

    def follow(self) -> None:
        """Count a symlink.

        Raises:
            LayerRejected: these are too many.
        """
        self.symlinks += 1
        if self.symlinks > _MAXIMUM_SYMLINKS:
            raise rejected(self._entry, "the symlinks on its path lead in a circle")


def walk(
    path: bytes,
    entry: bytes,
    step: Callable[[list[bytes], bytes, bool], bytes | None],
    start: bytes = b"",
) -> bytes:
    """Go along a path part by part, following symlinks within the root; return the real path.

    `step` gets the real path so far, the next part, and whether a symlink led here; it returns the
    target if that part is a symlink, None if it is a folder. `entry` is for errors; `start` is the
    real path of the folder to go from.

    Raises:
        LayerRejected: the path leads out of the root, in a circle, or on too long a way.
    """
    real = start.split(b"/") if start else []
    left = path.split(b"/")[::-1]
    count = _Walk(entry)
    while left:
        part = left.pop()
        count.step()
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not real:
                raise rejected(entry, "a symlink on its path leads out of the image")
            real.pop()
            continue
        target = step(real, part, count.symlinks > 0)
        if target is None:
            real.append(part)
            continue
        count.follow()
        if target.startswith(b"/"):
            real.clear()
        left += target.split(b"/")[::-1]
    return b"/".join(real)


class Beneath:
    """The folders below one root.

    Attributes:
        root: descriptor of the root, for reading its names.
        notes: what is known of the folders beyond what the disk shows.
    """

    def __init__(self, folder: str) -> None:
        self.root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.notes = Notes()
        self._known: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()

    def close(self) -> None:
        """Close all descriptors."""
        self.drop()
        os.close(self.root)

    def drop(self, keep: tuple[int, ...] = ()) -> None:
        """Forget where paths lead, as a folder or symlink is gone that may have been on their way.

        Descriptors in use are kept open (`keep`).
        """
        for path, (descriptor, _) in list(self._known.items()):
            if descriptor not in keep:
                os.close(descriptor)
                del self._known[path]

    def folder(self, path: bytes, entry: bytes, *, make: bool = True) -> tuple[int, bytes]:
        """Return a descriptor of a folder and its real path; the descriptor stays this object's.

        It holds until the next but some calls. `entry` is what is to be made there, for errors.

        Raises:
            LayerRejected: something on the path is no folder, or leads out of the root.
            FileNotFoundError: it is missing, and `make` is false.
        """
        known = self._known.get(path)
        if known is not None:
            self._known.move_to_end(path)
            return known
        try:
            found = self.open(path), path
        except OSError:
            real = self._walk(path, entry, make=make)
            found = self.open(real), real
        self._known[path] = found
        if len(self._known) > _CACHED:
            _, (oldest, _) = self._known.popitem(last=False)
            os.close(oldest)
        return found

    def open(self, path: bytes, flags: int = _FOLDER) -> int:
        """Open a real path, which holds no symlink; the descriptor is the caller's."""
        return kernel.openat2(self.root, path or b".", flags, _RESOLVE)

    def _walk(self, path: bytes, entry: bytes, *, make: bool) -> bytes:
        def step(real: list[bytes], part: bytes, linked: bool) -> bytes | None:  # noqa: FBT001
            return self._step(real, part, entry, make=make, linked=linked)

        return walk(path, entry, step)

    def _step(
        self, real: list[bytes], part: bytes, entry: bytes, *, make: bool, linked: bool
    ) -> bytes | None:
        """Make sure that a folder of this name is in a real one; return a symlink's target."""
        parent = self.open(b"/".join(real))
        path = b"/".join([*real, part])
        try:
            try:
                status = os.lstat(part, dir_fd=parent)
            except FileNotFoundError:
                if not make:
                    raise
                check_real(path, entry)
                os.mkdir(part, 0o700, dir_fd=parent)
                self.notes.imply(path, linked=linked)
                return None
            if stat.S_ISDIR(status.st_mode):
                return None
            if stat.S_ISLNK(status.st_mode):
                return os.readlink(part, dir_fd=parent)
            raise rejected(entry, f"'{os.fsdecode(path)}' on its path is no folder")
        finally:
            os.close(parent)

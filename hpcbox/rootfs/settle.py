"""Layers that lean on the layers below: whether one fits a stack as it is, and its form if not.

A layer is unpacked by itself. Three things can't be known then (OCI image-spec, layer.md, says
that layers are applied one on the other):

- an entry `bin/x` without an entry `bin`: below there may be a symlink `bin → usr/bin`, and the
  image has usr/bin/x then. As unpacked, a folder `bin` would hide the symlink;
- such a folder may exist below with another mode than 0755 (`tmp`), which the image keeps;
- a hardlink to a file below: both names are one file in the image.

A layer in such a case is copied once more for that stack, as hardlinks of its files: no data.
Most layers list all their folders and never come here.
"""

import os
import stat
from collections.abc import Sequence

from hpcbox.errors import LayerRejected
from hpcbox.rootfs import whiteouts
from hpcbox.rootfs.beneath import Beneath, clean, rejected
from hpcbox.rootfs.stack import Found, Stack
from hpcbox.store import trees
from hpcbox.store.sink import Needs

_IMPLIED_MODE = 0o755
_MAXIMUM_SYMLINKS = 40
_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def fits(needs: Needs, below: Sequence[int]) -> bool:
    """Say whether a layer with these needs may lie as it is on these layers (bottom first).

    Raises:
        LayerRejected: an entry leads through a symlink to a folder that the image doesn't have.
    """
    stack = Stack(below)
    linked = set(needs.linked_folders)
    fitting = not needs.links
    for folder in needs.folders:
        found = stack.look(os.fsencode(folder)) if below else None
        if found is None and folder in linked:
            raise LayerRejected(folder, "a symlink leads there, and the image has no such folder")
        if found is None:
            continue
        other_mode = stat.S_IMODE(found.status.st_mode) != _IMPLIED_MODE
        if found.is_symlink or (found.is_folder and other_mode):
            fitting = False
    return fitting


def settle(needs: Needs, layer: int, below: Sequence[int], folder: str) -> None:
    """Make the form that a layer has on these layers, in a folder that is empty.

    Raises:
        LayerRejected: a symlink of the layers below leads out of the image or nowhere, or a
            hardlink has no target.
        OSError: the folder can't be written.
    """
    beneath = Beneath(folder)
    aside = f"{folder}.aside"
    os.mkdir(aside, 0o700)
    try:
        _Settling(needs, layer, below, beneath, aside).run()
    finally:
        beneath.close()
        trees.remove(aside)


class _Settling:
    def __init__(
        self, needs: Needs, layer: int, below: Sequence[int], beneath: Beneath, aside: str
    ) -> None:
        self._needs = needs
        self._layer = layer
        self._beneath = beneath
        self._aside = os.fsencode(aside)
        self._below = Stack(below)
        self._whole = Stack([*below, beneath.root])
        self._modes: dict[tuple[int, int], tuple[int, int, bool]] = {}

    def run(self) -> None:
        self._copy(self._layer, self._beneath.root)
        linked = set(self._needs.linked_folders)
        for folder in self._needs.folders:
            self._settle_folder(os.fsencode(folder), must_exist=folder in linked)
        for name, target in self._needs.links:
            self._settle_link(os.fsencode(name), clean(os.fsencode(target), os.fsencode(name)))
        self._finish(self._beneath.root)

    def _copy(self, source: int, copy: int) -> None:
        """Copy a folder's content: folders anew, all else as hardlinks."""
        self._note(copy, os.fstat(source), timed=True)
        for attribute in os.listxattr(source):
            if attribute.startswith("user."):
                os.setxattr(copy, attribute, os.getxattr(source, attribute))
        for name in map(os.fsencode, os.listdir(source)):
            if not stat.S_ISDIR(os.lstat(name, dir_fd=source).st_mode):
                os.link(name, name, src_dir_fd=source, dst_dir_fd=copy, follow_symlinks=False)
                continue
            os.mkdir(name, 0o700, dir_fd=copy)
            inner, inner_copy = (os.open(name, _READ_FOLDER, dir_fd=at) for at in (source, copy))
            try:
                self._copy(inner, inner_copy)
            finally:
                os.close(inner)
                os.close(inner_copy)

    def _note(self, folder: int, status: os.stat_result, *, timed: bool) -> None:
        # By inode: a folder may be moved before it gets its mode.
        own = os.fstat(folder)
        mode = stat.S_IMODE(status.st_mode)
        self._modes[own.st_dev, own.st_ino] = (mode, status.st_mtime_ns, timed)

    def _settle_folder(self, folder: bytes, *, must_exist: bool) -> None:
        parent, _, name = folder.rpartition(b"/")
        real = _joined(self._resolved(parent, folder), name)
        if not self._has_folder(real):
            # It went along when the folder that holds it was moved onto another.
            return
        found = self._below.look(real)
        if found is None and must_exist:
            raise rejected(folder, "a symlink leads there, and the image has no such folder")
        if found is not None and found.is_folder:
            self._take_mode(real, found)
        elif found is not None and found.is_symlink:
            self._move(real, folder)

    def _move(self, real: bytes, folder: bytes) -> None:
        """Move what lies in a folder to where the symlink of its name below leads."""
        aside = self._aside + b"/" + b"%d" % len(self._modes)
        parent, _, name = real.rpartition(b"/")
        source = self._beneath.open(parent)
        try:
            os.rename(name, aside, src_dir_fd=source)
        finally:
            os.close(source)
        target = self._resolved(real, folder)
        self._ensure(target)
        moved = os.open(aside, _READ_FOLDER)
        onto = self._beneath.open(target, _READ_FOLDER)
        try:
            _merge(moved, onto)
        finally:
            os.close(moved)
            os.close(onto)

    def _settle_link(self, name: bytes, target: bytes) -> None:
        target_parent, _, target_name = target.rpartition(b"/")
        real = _joined(self._resolved(target_parent, name), target_name)
        found = self._below.look(real)
        if found is None or found.is_folder:
            raise rejected(name, f"a hardlink to '{os.fsdecode(target)}', which no layer has")
        parent, _, link_name = name.rpartition(b"/")
        place = self._resolved(parent, name)
        # Both names go into this layer, so that they stay one file where the image is written to.
        for path in (real, _joined(place, link_name)):
            folder, _, last = path.rpartition(b"/")
            self._ensure(folder)
            opened = self._beneath.open(folder)
            try:
                self._below.link(real, opened, last)
            except FileExistsError:
                continue
            finally:
                os.close(opened)

    def _resolved(self, folder: bytes, entry: bytes) -> bytes:
        """Return the real path of a folder of the whole stack, this layer on top."""
        real: list[bytes] = []
        left = folder.split(b"/")[::-1]
        symlinks = 0
        while left:
            part = left.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not real:
                    raise rejected(entry, "a symlink below it leads out of the image")
                real.pop()
                continue
            found = self._whole.look(b"/".join([*real, part]))
            if found is None or not (found.is_folder or found.is_symlink):
                shown = os.fsdecode(b"/".join([*real, part]))
                raise rejected(entry, f"its path leads to '{shown}', which is no folder")
            if found.is_folder:
                real.append(part)
                continue
            symlinks += 1
            if symlinks > _MAXIMUM_SYMLINKS:
                raise rejected(entry, "the symlinks on its path lead in a circle")
            if found.target.startswith(b"/"):
                real.clear()
            left += found.target.split(b"/")[::-1]
        return b"/".join(real)

    def _ensure(self, real: bytes) -> None:
        """Make a folder, which the layers below have, in this layer, with the modes from below."""
        made: list[bytes] = []
        for part in real.split(b"/") if real else []:
            above = b"/".join(made)
            made.append(part)
            path = b"/".join(made)
            if self._has_folder(path):
                continue
            parent = self._beneath.open(above)
            try:
                os.mkdir(part, 0o700, dir_fd=parent)
            finally:
                os.close(parent)
            found = self._below.look(path)
            if found is not None:
                self._take_mode(path, found)

    def _take_mode(self, real: bytes, found: Found) -> None:
        folder = self._beneath.open(real, _READ_FOLDER)
        try:
            self._note(folder, found.status, timed=False)
        finally:
            os.close(folder)

    def _has_folder(self, real: bytes) -> bool:
        try:
            os.close(self._beneath.open(real))
        except OSError:
            return False
        return True

    def _finish(self, folder: int) -> None:
        """Give all folders their modes and times, deepest first."""
        for name in map(os.fsencode, os.listdir(folder)):
            if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                inner = os.open(name, _READ_FOLDER, dir_fd=folder)
                try:
                    self._finish(inner)
                finally:
                    os.close(inner)
        own = os.fstat(folder)
        mode, mtime_ns, timed = self._modes.get((own.st_dev, own.st_ino), (_IMPLIED_MODE, 0, False))
        os.fchmod(folder, mode)
        if timed:
            os.utime(folder, ns=(mtime_ns, mtime_ns))


def _merge(moved: int, onto: int) -> None:
    """Move a folder's content into another; what stands there already is replaced."""
    if whiteouts.is_opaque(moved):
        whiteouts.make_opaque(onto)
    for name in map(os.fsencode, os.listdir(moved)):
        if _is_folder(name, moved) and _is_folder(name, onto):
            inner, inner_onto = (os.open(name, _READ_FOLDER, dir_fd=at) for at in (moved, onto))
            try:
                _merge(inner, inner_onto)
            finally:
                os.close(inner)
                os.close(inner_onto)
            continue
        trees.remove(name, parent=onto)
        os.rename(name, name, src_dir_fd=moved, dst_dir_fd=onto)


def _is_folder(name: bytes, parent: int) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode)
    except FileNotFoundError:
        return False


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name

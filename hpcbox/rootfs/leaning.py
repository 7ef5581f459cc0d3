"""A layer that leans on what lies below it, made to fit a plain folder before it is laid over it.

The same three cases as in settle.py: folders without an entry of their own, behind which the folder
below may have a symlink or another mode, and hardlinks to files below. Here the layers below are
one plain folder, and the layer is changed in place.
"""

import os
import stat

from hpcbox.rootfs import whiteouts
from hpcbox.rootfs.beneath import Beneath, clean, rejected
from hpcbox.store import trees
from hpcbox.store.sink import Needs

_MAXIMUM_SYMLINKS = 40
_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found:
    """Something at a real path.

    Attributes:
        status: as lstat(2) gives it.
        target: of a symlink, else b"".
    """

    __slots__ = ("status", "target")

    def __init__(self, status: os.stat_result, target: bytes) -> None:
        self.status = status
        self.target = target

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symlink."""
        return stat.S_ISLNK(self.status.st_mode)


class Leaning:
    """One layer over one plain folder; `aside` is an empty folder on the same file system.

    Attributes:
        kept: inodes of the layer's folders whose modes and times the folders below keep.
    """

    def __init__(self, needs: Needs, layer: Beneath, root: Beneath, aside: str) -> None:
        self._needs = needs
        self._layer = layer
        self._root = root
        self._aside = os.fsencode(aside)
        self._moved = 0
        self._forget()
        self.kept: set[int] = set()

    def settle(self) -> None:
        """Move what lies behind symlinks of the folder below; make the links to its files.

        Raises:
            LayerRejected: a symlink below leads out of the image or nowhere, or a hardlink has no
                target.
            OSError: the layer's folder can't be written.
        """
        linked = set(self._needs.linked_folders)
        for folder in self._needs.folders:
            self._settle_folder(os.fsencode(folder), must_exist=folder in linked)
        for name, target in self._needs.links:
            self._settle_link(os.fsencode(name), clean(os.fsencode(target), os.fsencode(name)))

    def _settle_folder(self, folder: bytes, *, must_exist: bool) -> None:
        parent, _, name = folder.rpartition(b"/")
        real = _joined(self._resolved(parent, folder), name)
        own = _look(self._layer, real)
        if own is None or not own.is_folder:
            # It went along when the folder that holds it was moved onto another.
            return
        found = _look(self._root, real)
        if found is None and must_exist:
            raise rejected(folder, "a symlink leads there, and the image has no such folder")
        if found is not None and found.is_folder:
            self.kept.add(own.status.st_ino)
        elif found is not None and found.is_symlink:
            self._move(real, folder)

    def _move(self, real: bytes, folder: bytes) -> None:
        """Move what lies in a folder to where the symlink of its name below leads."""
        self._moved += 1
        aside = self._aside + b"/%d" % self._moved
        parent, _, name = real.rpartition(b"/")
        source = self._layer.open(parent)
        try:
            os.rename(name, aside, src_dir_fd=source)
        finally:
            os.close(source)
        self._forget()
        target = self._resolved(real, folder)
        self._ensure(target)
        moved = os.open(aside, _READ_FOLDER)
        onto = self._layer.open(target, _READ_FOLDER)
        try:
            _pour(moved, onto)
        finally:
            os.close(moved)
            os.close(onto)
        self._forget()

    def _settle_link(self, name: bytes, target: bytes) -> None:
        target_parent, _, target_name = target.rpartition(b"/")
        real_parent = self._resolved(target_parent, name)
        found = _look(self._root, _joined(real_parent, target_name))
        if found is None or found.is_folder:
            raise rejected(name, f"a hardlink to '{os.fsdecode(target)}', which no layer has")
        parent, _, link_name = name.rpartition(b"/")
        place = self._resolved(parent, name)
        self._ensure(place)
        source, onto = self._root.open(real_parent), self._layer.open(place)
        try:
            os.link(
                target_name, link_name, src_dir_fd=source, dst_dir_fd=onto, follow_symlinks=False
            )
        except FileExistsError:
            return
        finally:
            os.close(source)
            os.close(onto)

    def _ensure(self, real: bytes) -> None:
        """Make a folder, which the folder below has, in this layer too."""
        made: list[bytes] = []
        for part in real.split(b"/") if real else []:
            above = b"/".join(made)
            made.append(part)
            if _look(self._layer, b"/".join(made)) is not None:
                continue
            parent = self._layer.open(above)
            try:
                os.mkdir(part, 0o700, dir_fd=parent)
                self.kept.add(os.lstat(part, dir_fd=parent).st_ino)
            finally:
                os.close(parent)

    def _forget(self) -> None:
        self._real_paths = {b"": b""}
        self._shows = {b"": True}

    def _resolved(self, path: bytes, entry: bytes) -> bytes:
        """Return the real path of a folder of the image, this layer on top."""
        real = self._real_paths.get(path)
        if real is None:
            parent, _, name = path.rpartition(b"/")
            real = self._walk(self._resolved(parent, entry), name, entry)
            self._real_paths[path] = real
        return real

    def _walk(self, start: bytes, name: bytes, entry: bytes) -> bytes:
        real = start.split(b"/") if start else []
        left = [name]
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
            path = b"/".join([*real, part])
            found = self._look_through(path)
            if found is None or not (found.is_folder or found.is_symlink):
                shown = os.fsdecode(path)
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

    def _look_through(self, path: bytes) -> Found | None:
        """Return what the image shows at a real path, this layer on top."""
        own = _look(self._layer, path)
        if own is not None:
            return own
        parent, _, name = path.rpartition(b"/")
        if not self._shows_below(parent) or self._hides(parent, name):
            return None
        return _look(self._root, path)

    def _shows_below(self, path: bytes) -> bool:
        """Say whether what the folder below has in this folder shows through the layer."""
        shows = self._shows.get(path)
        if shows is None:
            parent, _, name = path.rpartition(b"/")
            shows = self._shows_below(parent) and not self._hides(parent, name)
            shows = shows and not self._hides(path, None)
            self._shows[path] = shows
        return shows

    def _hides(self, folder: bytes, name: bytes | None) -> bool:
        """Say whether the layer hides a name of a folder, or with None all of it."""
        try:
            opened = self._layer.open(folder)
        except OSError:
            return False
        try:
            return whiteouts.is_hidden_as_in_tar(name, opened)
        finally:
            os.close(opened)


def _look(tree: Beneath, path: bytes) -> Found | None:
    """Return what stands at a real path of one of both, or None."""
    parent, _, name = path.rpartition(b"/")
    try:
        folder = tree.open(parent)
    except OSError:
        return None
    try:
        status = os.lstat(name or b".", dir_fd=folder)
        is_link = stat.S_ISLNK(status.st_mode)
        return Found(status, os.readlink(name, dir_fd=folder) if is_link else b"")
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)


def _pour(moved: int, onto: int) -> None:
    """Move a folder's content into another; what stands there already is replaced."""
    for name in map(os.fsencode, os.listdir(moved)):
        try:
            inner, inner_onto = _both(name, moved, onto)
        except OSError:
            trees.remove(name, parent=onto)
            os.rename(name, name, src_dir_fd=moved, dst_dir_fd=onto)
            continue
        try:
            _pour(inner, inner_onto)
        finally:
            os.close(inner)
            os.close(inner_onto)


def _both(name: bytes, moved: int, onto: int) -> tuple[int, int]:
    """Open the folders of one name in both; raise OSError when one has none."""
    inner = os.open(name, _READ_FOLDER, dir_fd=moved)
    try:
        return inner, os.open(name, _READ_FOLDER, dir_fd=onto)
    except OSError:
        os.close(inner)
        raise


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name

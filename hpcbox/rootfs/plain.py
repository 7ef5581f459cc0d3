"""Layers laid over each other in one plain folder, as a container would see them stacked.

Each layer is unpacked by itself, all of them at the same time. Then, bottom first, their files are
moved into one folder and their whiteouts are carried out: by rename(2), no byte is copied, and a
folder that is new moves with all that is in it. So the order of a layer's entries doesn't matter,
and the layers mean the same here as in the store. Nothing but the caller touches these folders.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from hpcbox.image.source import ByteStream
from hpcbox.rootfs import tar, whiteouts
from hpcbox.rootfs.beneath import Beneath
from hpcbox.rootfs.entries import Form, Unpacking
from hpcbox.rootfs.folder_copy import FolderCopy
from hpcbox.rootfs.layer_view import DirectoryFolder, LayerFolder
from hpcbox.rootfs.settle import settle
from hpcbox.rootfs.stack import Stack
from hpcbox.rootfs.tree import WHITEOUT, Node
from hpcbox.store import trees
from hpcbox.store.opened_layer import DIRECTORY, OpenedLayer
from hpcbox.store.sink import Budget, Needs

_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class PlainLayer:
    """A layer in a folder of its own, ready to be laid over others.

    Attributes:
        path: its folder.
        entries: how many entries it has.
        needs: what depends on what is below it.
        closed: inode → mode of folders that their owner may not fill; till the end he may.
        has_marks: whether it hides anything.
        lists_root: whether the root has an entry; else what is below keeps its mode and time.
    """

    def __init__(self, path: str) -> None:
        """Describe a layer that is still to be made at this path."""
        self.path = path
        self.entries = 0
        self.needs = Needs()
        self.closed: dict[int, int] = {}
        self.has_marks = False
        self.lists_root = False

    def unpack(self, stream: ByteStream, budget: Budget) -> None:
        """Unpack the layer's tar.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            ImageTooLarge: the budget is spent.
            OSError: the folder can't be written.
        """
        os.mkdir(self.path, 0o755)
        beneath = Beneath(self.path)
        try:
            form = Form(self._whiteout, self._opaque, self._set_mode)
            unpacked = Unpacking(beneath, budget, form).run(tar.TarReader(tar.pieces_of(stream)))
            self.lists_root = beneath.notes.at(b"").is_listed
        finally:
            beneath.close()
        self.entries, self.needs = unpacked.entries, unpacked.needs

    def _whiteout(self, name: bytes, folder: int) -> None:
        whiteouts.make_as_in_tar(name, folder)
        self.has_marks = True

    def _opaque(self, folder: int) -> None:
        whiteouts.make_opaque_as_in_tar(folder)
        self.has_marks = True

    def _set_mode(self, folder: int, mode: int) -> None:
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            self.closed[os.fstat(folder).st_ino] = mode
        os.fchmod(folder, mode | stat.S_IRWXU)


class PlainRoot:
    """The folder that layers are laid into; it is made here."""

    def __init__(self, path: str) -> None:
        os.mkdir(path, 0o755)
        self._path = path
        self._closed: dict[int, int] = {}

    def lay(self, layer: PlainLayer) -> None:
        """Lay a layer over what is there; its own folder is worth nothing afterwards.

        Raises:
            LayerRejected: it can't lie on what is there.
            OSError: a folder can't be written.
        """
        with _LaidLayer(layer.path) as own, _opened(self._path) as root:
            settle(layer.needs, own, [OpenedLayer(DIRECTORY, [root])])
            if not layer.lists_root:
                own.kept.add(os.fstat(own.root).st_ino)
            self._closed.update(layer.closed)
            laying = _Laying(own.kept, self._closed, has_marks=layer.has_marks)
            laying.folder(own.root, root)

    def close(self) -> None:
        """Give the folders their modes that their owner may not fill.

        Raises:
            OSError: a folder can't be written.
        """
        if self._closed:
            with _opened(self._path) as root:
                self._close(root)

    def _close(self, folder: int) -> None:
        for name, is_folder in _content(folder):
            if is_folder:
                inner = os.open(name, _READ_FOLDER, dir_fd=folder)
                try:
                    self._close(inner)
                finally:
                    os.close(inner)
        mode = self._closed.get(os.fstat(folder).st_ino)
        if mode is not None:
            os.fchmod(folder, mode)


class _MarkedFolder(DirectoryFolder):
    """A folder whose marks are as in a tar, as settle.py looks at it."""

    def itself(self) -> Node:
        """Return what the folder is, with its `is_opaque`."""
        node = super().itself()
        node.is_opaque = whiteouts.is_hidden_as_in_tar(None, self.descriptor)
        return node

    def look(self, name: bytes) -> Node | None:
        """Return what has a name in it, a whiteout too, or None."""
        found = super().look(name)
        if found is None and whiteouts.is_hidden_as_in_tar(name, self.descriptor):
            return Node(WHITEOUT, 0, 0)
        return found

    def enter(self, name: bytes) -> "_MarkedFolder":
        """Return a folder in it, to be closed by the caller."""
        return _MarkedFolder(os.open(name, _READ_FOLDER, dir_fd=self.descriptor))


class _LaidLayer(FolderCopy):
    """A layer that is about to be laid: it is changed itself, no copy is made.

    Attributes:
        root: descriptor of its root.
        kept: inodes of its folders whose modes and times the folders below keep.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.root = self._beneath.root
        self.kept: set[int] = set()

    def view(self) -> LayerFolder:
        """Return the layer as it is, for looking; to be closed."""
        return _MarkedFolder(os.open(".", _READ_FOLDER, dir_fd=self.root))

    def link(self, below: Stack, file: bytes, path: bytes) -> None:
        """Give a file of the folder below a name here; its own name stays below, or is hidden."""
        if path != file:
            super().link(below, file, path)

    def finish(self) -> None:
        """Leave everything to the laying."""

    def _note(self, folder: int, _mode: int, _mtime_ns: int) -> None:
        self.kept.add(os.fstat(folder).st_ino)


class _Laying:
    def __init__(self, kept: set[int], closed: dict[int, int], *, has_marks: bool) -> None:
        self._kept = kept
        self._closed = closed
        self._has_marks = has_marks

    def folder(self, source: int, onto: int) -> None:
        """Move what lies in a layer's folder into the one of its name below."""
        above, below = os.fstat(source), os.fstat(onto)
        content = _content(source)
        if self._has_marks:
            content = _carried_out(content, onto)
        for name, is_folder in content:
            if is_folder:
                self._inner(name, source, onto)
            else:
                _replace(name, source, onto)
        if above.st_ino in self._kept:
            os.utime(onto, ns=(below.st_mtime_ns, below.st_mtime_ns))
            return
        self._closed.pop(below.st_ino, None)
        if above.st_ino in self._closed:
            self._closed[below.st_ino] = self._closed[above.st_ino]
        _copy_xattrs(source, onto)
        os.fchmod(onto, stat.S_IMODE(above.st_mode))
        os.utime(onto, ns=(above.st_mtime_ns, above.st_mtime_ns))

    def _inner(self, name: bytes, source: int, onto: int) -> None:
        inner = os.open(name, _READ_FOLDER, dir_fd=source)
        try:
            try:
                inner_onto = os.open(name, _READ_FOLDER, dir_fd=onto)
            except OSError:
                # Nothing is there, or something that a folder replaces.
                if self._has_marks:
                    _clean(inner)
                trees.remove(name, parent=onto)
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=onto)
                return
            try:
                self.folder(inner, inner_onto)
            finally:
                os.close(inner_onto)
        finally:
            os.close(inner)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    folder = os.open(path, _READ_FOLDER)
    try:
        yield folder
    finally:
        os.close(folder)


def _content(folder: int) -> list[tuple[bytes, bool]]:
    """Return the names in a folder, and whether each is one."""
    with os.scandir(folder) as entries:
        return [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]


def _carried_out(content: list[tuple[bytes, bool]], onto: int) -> list[tuple[bytes, bool]]:
    """Remove what a folder's marks hide below; return its content without the marks."""
    for name, _ in content:
        if whiteouts.is_opaque_mark(name):
            for hidden in map(os.fsencode, os.listdir(onto)):
                trees.remove(hidden, parent=onto)
        elif name.startswith(whiteouts.PREFIX):
            trees.remove(name.removeprefix(whiteouts.PREFIX), parent=onto)
    return [item for item in content if not item[0].startswith(whiteouts.PREFIX)]


def _clean(folder: int) -> None:
    """Remove the marks of a folder and of all in it: there is nothing to hide."""
    before = os.fstat(folder)
    for name, is_folder in _content(folder):
        if is_folder:
            inner = os.open(name, _READ_FOLDER, dir_fd=folder)
            try:
                _clean(inner)
            finally:
                os.close(inner)
        elif name.startswith(whiteouts.PREFIX):
            os.unlink(name, dir_fd=folder)
    os.utime(folder, ns=(before.st_mtime_ns, before.st_mtime_ns))


def _replace(name: bytes, source: int, onto: int) -> None:
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=onto)
    except IsADirectoryError:
        trees.remove(name, parent=onto)
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=onto)


def _copy_xattrs(source: int, onto: int) -> None:
    """Give a folder the attributes of the layer's folder and no others."""
    mine = _user_xattrs(source)
    for attribute in _user_xattrs(onto).keys() - mine.keys():
        os.removexattr(onto, attribute)
    for attribute, value in mine.items():
        os.setxattr(onto, attribute, value)


def _user_xattrs(folder: int) -> dict[str, bytes]:
    try:
        names = os.listxattr(folder)
    except OSError:
        # A file system without them: then there are none.
        return {}
    return {name: os.getxattr(folder, name) for name in names if name.startswith("user.")}

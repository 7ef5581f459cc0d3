"""A directory layer's copy that is being settled: folders anew, all else as hardlinks."""

import os
import stat
from typing import Self

from hpcbox.rootfs import whiteouts
from hpcbox.rootfs.beneath import Beneath
from hpcbox.rootfs.layer_view import DirectoryFolder, LayerFolder
from hpcbox.rootfs.stack import Stack
from hpcbox.rootfs.tree import FIFO, FILE, SYMLINK, Node
from hpcbox.store import trees

_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FolderCopy:
    """A copy below an empty folder, beside which there is one more meanwhile; see LayerCopy.

    A context manager.
    """

    def __init__(self, folder: str) -> None:
        self._aside = os.fsencode(f"{folder}.aside")
        os.mkdir(self._aside, 0o700)
        self._beneath = Beneath(folder)
        # (mode, mtime) by inode, as a folder may be moved before it gets them.
        self._dresses: dict[tuple[int, int], tuple[int, int]] = {}
        self._taken = 0
        # Files below that were copied, by their path: where the copy lies.
        self._copied: dict[bytes, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._beneath.close()
        trees.remove(self._aside)

    def fill(self, source: int) -> None:
        """Copy a layer by the descriptor of its root folder.

        Raises:
            OSError: the folder can't be written.
        """
        readable = os.open(".", _READ_FOLDER, dir_fd=source)
        try:
            self._copy(readable, self._beneath.root)
        finally:
            os.close(readable)

    def view(self) -> LayerFolder:
        """Return the copy as it is, for looking; to be closed."""
        return DirectoryFolder(os.open(".", _READ_FOLDER, dir_fd=self._beneath.root))

    def has_folder(self, path: bytes) -> bool:
        """Whether a folder stands at a path."""
        try:
            os.close(self._beneath.open(path))
        except OSError:
            return False
        return True

    def make_folder(self, path: bytes) -> None:
        """Make a folder in one that is there."""
        parent, _, name = path.rpartition(b"/")
        opened = self._beneath.open(parent)
        try:
            os.mkdir(name, 0o700, dir_fd=opened)
        finally:
            os.close(opened)

    def dress(self, path: bytes, like: Node) -> None:
        """Give a folder another one's mode and time."""
        folder = self._beneath.open(path, _READ_FOLDER)
        try:
            self._note(folder, like.mode, like.mtime_ns)
        finally:
            os.close(folder)

    def take(self, path: bytes) -> None:
        """Take a folder away, for `merge`."""
        self._taken += 1
        parent, _, name = path.rpartition(b"/")
        opened = self._beneath.open(parent)
        try:
            os.rename(name, self._taken_place(), src_dir_fd=opened)
        finally:
            os.close(opened)

    def merge(self, path: bytes) -> None:
        """Move what is in the folder that was taken to another; what stands there is replaced."""
        moved = os.open(self._taken_place(), _READ_FOLDER)
        onto = self._beneath.open(path, _READ_FOLDER)
        try:
            _merge(moved, onto)
        finally:
            os.close(moved)
            os.close(onto)

    def link(self, below: Stack, file: bytes, path: bytes) -> None:
        """Give a file of the layers below a name here unless it is taken; see LayerCopy."""
        parent, _, name = path.rpartition(b"/")
        opened = self._beneath.open(parent)
        try:
            with below.holding(file) as found:
                if found is None:
                    raise FileNotFoundError
                folder, last, node = found
                if isinstance(folder, DirectoryFolder):
                    _link(folder.descriptor, last, opened, name)
                elif file in self._copied:
                    above, _, last = self._copied[file].rpartition(b"/")
                    first = self._beneath.open(above)
                    try:
                        _link(first, last, opened, name)
                    finally:
                        os.close(first)
                else:
                    _copy_file(folder, last, node, opened, name)
                    self._copied[file] = path
        except FileExistsError:
            return
        finally:
            os.close(opened)

    def finish(self) -> None:
        """Give all folders their modes and times, deepest first."""
        self._finish(self._beneath.root)

    def _taken_place(self) -> bytes:
        return self._aside + b"/%d" % self._taken

    def _copy(self, source: int, copy: int) -> None:
        status = os.fstat(source)
        self._note(copy, stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        for attribute in os.listxattr(source):
            if attribute.startswith("user."):
                os.setxattr(copy, attribute, os.getxattr(source, attribute))
        for name in map(os.fsencode, os.listdir(source)):
            if not stat.S_ISDIR(os.lstat(name, dir_fd=source).st_mode):
                _link(source, name, copy, name)
                continue
            os.mkdir(name, 0o700, dir_fd=copy)
            inner, inner_copy = (os.open(name, _READ_FOLDER, dir_fd=at) for at in (source, copy))
            try:
                self._copy(inner, inner_copy)
            finally:
                os.close(inner)
                os.close(inner_copy)

    def _note(self, folder: int, mode: int, mtime_ns: int) -> None:
        own = os.fstat(folder)
        self._dresses[own.st_dev, own.st_ino] = (mode, mtime_ns)

    def _finish(self, folder: int) -> None:
        for name in map(os.fsencode, os.listdir(folder)):
            if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                inner = os.open(name, _READ_FOLDER, dir_fd=folder)
                try:
                    self._finish(inner)
                finally:
                    os.close(inner)
        own = os.fstat(folder)
        mode, mtime_ns = self._dresses[own.st_dev, own.st_ino]
        os.fchmod(folder, mode)
        os.utime(folder, ns=(mtime_ns, mtime_ns))


def _link(source: int, name: bytes, target: int, new_name: bytes) -> None:
    os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)


def _copy_file(source: LayerFolder, last: bytes, node: Node, parent: int, name: bytes) -> None:
    """Make a file as it is in a layer that has no files to link to."""
    if node.kind == SYMLINK:
        os.symlink(node.target, name, dir_fd=parent)
    elif node.kind == FIFO:
        os.mkfifo(name, node.mode, dir_fd=parent)
    elif node.kind == FILE:
        file = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            source.copy(last, file)
            for attribute, value in source.xattrs(last).items():
                os.setxattr(file, attribute, value)
            os.fchmod(file, node.mode)
        finally:
            os.close(file)
    os.utime(name, ns=(node.mtime_ns, node.mtime_ns), dir_fd=parent, follow_symlinks=False)


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

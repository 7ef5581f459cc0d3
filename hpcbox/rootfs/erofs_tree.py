"""An erofs file of a user as a tree for a layer, read as that user and never mounted.

Uncompressed files only. erofs-utils' own extraction is no way: fsck.erofs 1.5 (Debian 12) takes
names with slashes in them for paths, and writes outside of its folder.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from hpcbox.errors import ImageError, StoreError, shorten
from hpcbox.image import layer_tar, local_file
from hpcbox.image.layer_tar import Entry
from hpcbox.rootfs.erofs_inode import HOLE, Inode, Piece
from hpcbox.rootfs.erofs_view import ErofsImage

_PIECE_BYTES = 2**20
_MAXIMUM_DEPTH = 256
_MAXIMUM_TARGET = 4095
_KINDS = {
    stat.S_IFREG: layer_tar.FILE,
    stat.S_IFDIR: layer_tar.FOLDER,
    stat.S_IFLNK: layer_tar.SYMLINK,
    stat.S_IFIFO: layer_tar.FIFO,
}


class ErofsTree:
    """The tree of a file system image."""

    def __init__(self, path: str) -> None:
        """Look at the file.

        Raises:
            ImageError, PermissionRefused: it can't be read, or is no erofs.
        """
        self._path = path
        self.walk().close()

    def walk(self) -> "ErofsWalk":
        """Begin a walk.

        Raises:
            ImageError, PermissionRefused: it can't be read, or is no erofs.
        """
        return ErofsWalk(self._path)


class ErofsWalk:
    """One walk: a folder, what is in it, and then its folders, in the order of their bytes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor, _ = local_file.open_file(path)
        self._current: Inode | None = None
        self._linked: dict[int, bytes] = {}
        try:
            with self._readable():
                self._image = ErofsImage([self._descriptor])
        except ImageError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries.

        Raises:
            ImageError: the file can't be read as an erofs.
        """
        waiting = [(b".", self._image.root)]
        while waiting:
            folder, number = waiting.pop()
            with self._readable():
                names = self._image.names(number)
                entry = self._entry(folder, number)
            if entry is not None:
                yield entry
            folders = []
            for last, inside in sorted(names.items()):
                if last.startswith(b".wh."):
                    continue
                name = last if folder == b"." else folder + b"/" + last
                with self._readable():
                    is_folder = stat.S_ISDIR(self._image.inodes.inode(inside).mode)
                    found = None if is_folder else self._entry(name, inside)
                if is_folder:
                    self._check_depth(name)
                    folders.append((name, inside))
                elif found is not None:
                    yield found
            waiting += reversed(folders)

    def content(self) -> Iterator[bytes]:
        """Yield the content of the current file.

        Raises:
            ImageError: it can't be read.
        """
        if self._current is None:
            return
        with self._readable():
            pieces = self._image.inodes.pieces(self._current)
        for piece in pieces:
            for offset in range(0, piece.size, _PIECE_BYTES):
                size = min(_PIECE_BYTES, piece.size - offset)
                yield self._bytes(piece, offset, size)

    def close(self) -> None:
        """End the walk."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _bytes(self, piece: Piece, offset: int, size: int) -> bytes:
        if piece.place == HOLE:
            return bytes(size)
        with self._readable():
            return self._image.inodes.read(piece.offset + offset, size)

    def _entry(self, name: bytes, number: int) -> Entry | None:
        """Return what a name is; None for a device or socket."""
        inode = self._image.inodes.inode(number)
        kind, mode = _KINDS.get(stat.S_IFMT(inode.mode)), stat.S_IMODE(inode.mode)
        if kind is None:
            return None
        mtime, size, target = inode.mtime_ns // 10**9, 0, b""
        if kind == layer_tar.FILE and inode.names > 1:
            first = self._linked.setdefault(number, name)
            if first != name:
                return Entry(name, layer_tar.HARDLINK, mode, mtime, target=first)
        if kind == layer_tar.SYMLINK:
            if not 0 < inode.size <= _MAXIMUM_TARGET:
                raise self._refused("a symlink in it has a length that none can have")
            target = self._image.content(inode)
        if kind == layer_tar.FILE:
            size, self._current = inode.size, inode
            # What isn't there is found out before anybody is promised so much.
            self._image.inodes.pieces(inode)
        xattrs = self._image.xattrs(number)
        return Entry(name, kind, mode, mtime, size, target, layer_tar.kept_xattrs(xattrs))

    def _check_depth(self, name: bytes) -> None:
        # A folder may claim to lie in itself.
        if name.count(b"/") >= _MAXIMUM_DEPTH:
            raise self._refused(f"its folders lie more than {_MAXIMUM_DEPTH} deep")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Tell what the reader of the store's own images says of this one."""
        try:
            yield
        except StoreError as error:
            raise self._refused(error.message.rpartition(": ")[2]) from error
        except OSError as error:
            raise self._refused(str(error.strerror)) from error

    def _refused(self, reason: str) -> ImageError:
        return ImageError(
            f"cannot read {shorten(self._path, 160)} as an erofs image: {reason}",
            hint="only uncompressed ones can be read (mkfs.erofs without -z); "
            "a compressed image can be a squashfs",
        )

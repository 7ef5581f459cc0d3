"""A layer that is an erofs image, read without mounting it; see layer_view.py.

Folders are read as a whole and the last ones are kept: a lookup costs a few microseconds.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator

from hpcbox.rootfs import erofs_format as erofs
from hpcbox.rootfs.erofs_inode import HOLE, Inode, Inodes, Piece, damaged
from hpcbox.rootfs.tree import FOLDER, SYMLINK, Node

_ENTRY_BYTES = erofs.ENTRY.size
_PREFIXES = {erofs.USER_INDEX: erofs.USER_PREFIX, 4: b"trusted.", 6: b"security."}
_OPAQUE = b"user.overlay.opaque"
_OVERLAY = b"user.overlay."
_MAXIMUM_TARGET = 4096
_KEPT_FOLDERS = 64
# Copies of files are held in memory; libraries and databases of packages are far smaller.
_MAXIMUM_COPY = 256 * 2**20


class ErofsImage:
    """An image by the descriptors of its files, which stay the caller's.

    Attributes:
        root: number of the root's inode.
        inodes: what reads them.
    """

    def __init__(self, files: list[int]) -> None:
        """Begin.

        Raises:
            StoreError: it is no image that hpcbox writes.
        """
        self.inodes = Inodes(files)
        self.root = self.inodes.root
        self._files = files
        self._folders: OrderedDict[int, dict[bytes, int]] = OrderedDict()

    def node(self, number: int) -> Node:
        """Return an inode as a node without children and xattrs.

        Raises:
            StoreError: the image is damaged.
        """
        inode = self.inodes.inode(number)
        node = Node(stat.S_IFMT(inode.mode), stat.S_IMODE(inode.mode), inode.mtime_ns)
        node.size_bytes = inode.size
        node.names = inode.names
        if node.kind == SYMLINK:
            if not 0 < inode.size < _MAXIMUM_TARGET:
                raise damaged("a symlink has a length that none can have")
            node.target = self.content(inode)
        elif node.kind == FOLDER:
            node.is_opaque = self.xattrs(number).get(_OPAQUE) == b"y"
        return node

    def content(self, inode: Inode) -> bytes:
        """Return the whole content of a folder or symlink.

        Raises:
            StoreError: the image is damaged.
        """
        pieces = self.inodes.pieces(inode)
        if any(piece.place != 0 for piece in pieces):
            raise damaged("a folder or symlink lies outside of it")
        return b"".join(self.inodes.read(piece.offset, piece.size) for piece in pieces)

    def names(self, number: int) -> dict[bytes, int]:
        """Return what is in a folder: name → number of its inode.

        Raises:
            StoreError: the image is damaged, or this is no folder.
        """
        known = self._folders.get(number)
        if known is not None:
            self._folders.move_to_end(number)
            return known
        inode = self.inodes.inode(number)
        if not stat.S_ISDIR(inode.mode):
            raise damaged("a folder is none")
        content = self.content(inode)
        found: dict[bytes, int] = {}
        for start in range(0, len(content), self.inodes.block_bytes):
            _read_block(content[start : start + self.inodes.block_bytes], found)
        found.pop(b".", None)
        found.pop(b"..", None)
        self._folders[number] = found
        if len(self._folders) > _KEPT_FOLDERS:
            self._folders.popitem(last=False)
        return found

    def xattrs(self, number: int) -> dict[bytes, bytes]:
        """Return the extended attributes of an inode, all of them.

        Raises:
            StoreError: the image is damaged.
        """
        offset, size = self.inodes.inode(number).xattrs
        found: dict[bytes, bytes] = {}
        if size == 0:
            return found
        body = self.inodes.read(offset, size)
        at = erofs.ATTRIBUTES.size + 4 * erofs.ATTRIBUTES.unpack_from(body)[1]
        for position in range(erofs.ATTRIBUTES.size, at, 4):
            identity = int.from_bytes(body[position : position + 4], "little")
            start = self.inodes.shared_xattrs + 4 * identity
            name_size, _, value_size = erofs.ATTRIBUTE.unpack(
                self.inodes.read(start, erofs.ATTRIBUTE.size)
            )
            length = erofs.ATTRIBUTE.size + name_size + value_size
            _read_xattr(self.inodes.read(start, length), 0, found)
        while at + erofs.ATTRIBUTE.size <= len(body):
            at = _read_xattr(body, at, found)
        return found

    def open(self, number: int) -> int:
        """Return a descriptor of a copy, in memory, of a file's content.

        Raises:
            OSError: it isn't a file, or too large for that.
            StoreError: the image is damaged.
        """
        inode = self.inodes.inode(number)
        if not stat.S_ISREG(inode.mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if inode.size > _MAXIMUM_COPY:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        copy = os.memfd_create("hpcbox", os.MFD_CLOEXEC)
        try:
            self.copy(number, copy)
            os.lseek(copy, 0, os.SEEK_SET)
        except BaseException:
            os.close(copy)
            raise
        return copy

    def copy(self, number: int, target: int) -> None:
        """Append a file's content to a file; see LayerFolder."""
        copy_pieces(self._files, self.inodes.pieces(self.inodes.inode(number)), target)


class ErofsFolder:
    """A folder of an image; see LayerFolder."""

    def __init__(self, image: ErofsImage, number: int) -> None:
        self._image = image
        self._number = number

    def itself(self) -> Node:
        """Return what the folder is, with its `is_opaque`."""
        return self._image.node(self._number)

    def look(self, name: bytes) -> Node | None:
        """Return what has a name in it, a whiteout too, or None."""
        number = self._image.names(self._number).get(name)
        return None if number is None else self._image.node(number)

    def names(self) -> Iterator[bytes]:
        """Yield the names in it, whiteouts too, in no order."""
        yield from self._image.names(self._number)

    def enter(self, name: bytes) -> "ErofsFolder":
        """Return a folder in it, to be closed by the caller."""
        return ErofsFolder(self._image, self._inside(name))

    def xattrs(self, name: bytes) -> dict[bytes, bytes]:
        """Return the user's extended attributes of a name in it."""
        return user_xattrs(self._image.xattrs(self._inside(name)))

    def open(self, name: bytes) -> int:
        """Open a copy of a file in it for reading; the descriptor is the caller's."""
        return self._image.open(self._inside(name))

    def copy(self, name: bytes, target: int) -> None:
        """Append the content of a file in it to a file."""
        self._image.copy(self._inside(name), target)

    def close(self) -> None:
        """Do nothing: the image's files are the form's."""

    def _inside(self, name: bytes) -> int:
        number = self._image.names(self._number).get(name)
        if number is None:
            raise FileNotFoundError
        return number


def user_xattrs(xattrs: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return those of the attributes that are the image's own: neither ours nor the kernel's."""
    return {
        name: value
        for name, value in xattrs.items()
        if name.startswith(b"user.") and not name.startswith(_OVERLAY)
    }


def copy_pieces(files: list[int], pieces: list[Piece], target: int) -> None:
    """Append pieces of a form's files to a file; holes stay holes.

    Raises:
        OSError: it can't be written.
    """
    end = os.lseek(target, 0, os.SEEK_END)
    for piece in pieces:
        end += piece.size
        if piece.place == HOLE:
            os.lseek(target, end, os.SEEK_SET)
            continue
        offset, left = piece.offset, piece.size
        while left:
            sent = os.sendfile(target, files[piece.place], offset, left)
            if sent == 0:
                raise damaged("it is shorter than it was")
            offset, left = offset + sent, left - sent
    os.ftruncate(target, end)


def _read_block(block: bytes, found: dict[bytes, int]) -> None:
    """Read a block of a folder: entries of 12 bytes, the names behind them."""
    first = int.from_bytes(block[8:10], "little")
    if first % _ENTRY_BYTES or not _ENTRY_BYTES <= first <= len(block):
        raise damaged("a folder's block makes no sense")
    entries = list(erofs.ENTRY.iter_unpack(block[:first]))
    ends = [start for _, start, _ in entries[1:]] + [len(block)]
    for (number, start, _), end in zip(entries, ends, strict=True):
        # Behind the last name there may be zeros.
        name = block[start:end].partition(b"\0")[0]
        if not first <= start < end or not name or b"/" in name:
            raise damaged("a folder has a name that none can have")
        found[name] = number


def _read_xattr(data: bytes, at: int, found: dict[bytes, bytes]) -> int:
    """Read the attribute at a position; return where the next one begins."""
    length, index, size = erofs.ATTRIBUTE.unpack_from(data, at)
    start: int = at + erofs.ATTRIBUTE.size
    end: int = start + length + size
    if end > len(data):
        raise damaged("an extended attribute is longer than its place")
    found[_PREFIXES.get(index, b"") + data[start : start + length]] = data[start + length : end]
    return -(-end // 4) * 4

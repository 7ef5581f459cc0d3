"""A layer that is an erofs image, read without mounting it; see layer_view.py."""

import os
import stat

from hpcbox.rootfs import erofs_format as erofs
from hpcbox.rootfs.erofs_inode import HOLE, Inode, Inodes, Piece
from hpcbox.rootfs.image_folder import FolderCache, copy_in_memory, damaged, is_opaque
from hpcbox.rootfs.tree import FOLDER, SYMLINK, Node

_ENTRY_BYTES = erofs.ENTRY.size
_PREFIXES = {erofs.USER_INDEX: erofs.USER_PREFIX, 4: b"trusted.", 6: b"security."}
_MAXIMUM_TARGET = 4096
# A million names of 255 bytes; a damaged size must not fill the memory.
_MAXIMUM_FOLDER = 2**28


class ErofsImage:
    """An image by the descriptors of its files, which stay the caller's; see image_folder.Image.

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
        self._folders = FolderCache()

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
            node.is_opaque = is_opaque(self.xattrs(number))
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
        return self._folders.get(number, self._read_names)

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
        kind = stat.S_IFMT(inode.mode)
        return copy_in_memory(kind, inode.size, lambda copy: self.copy(number, copy))

    def copy(self, number: int, target: int) -> None:
        """Append a file's content to a file; see LayerFolder."""
        copy_pieces(self._files, self.inodes.pieces(self.inodes.inode(number)), target)

    def _read_names(self, number: int) -> dict[bytes, int]:
        inode = self.inodes.inode(number)
        if not stat.S_ISDIR(inode.mode):
            raise damaged("a folder is none")
        if inode.size > _MAXIMUM_FOLDER:
            raise damaged("a folder is larger than any")
        content = self.content(inode)
        found: dict[bytes, int] = {}
        for start in range(0, len(content), self.inodes.block_bytes):
            _read_block(content[start : start + self.inodes.block_bytes], found)
        found.pop(b".", None)
        found.pop(b"..", None)
        return found


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

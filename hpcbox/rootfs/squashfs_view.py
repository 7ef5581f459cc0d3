"""A layer that is a squashfs image, read without mounting it; see layer_view.py."""

import os
import stat
import struct
from collections.abc import Iterator

from hpcbox.rootfs import squashfs_format as squashfs
from hpcbox.rootfs.content import write_at
from hpcbox.rootfs.image_folder import FolderCache, copy_in_memory, damaged, is_opaque
from hpcbox.rootfs.squashfs_format import BLOCK
from hpcbox.rootfs.squashfs_inode import Inode, SquashfsFile, checked_word, decompressed
from hpcbox.rootfs.tree import FOLDER, Node

_NOT_NAMES = frozenset({b".", b".."})


class SquashfsImage:
    """An image by its descriptor, which stays the caller's; see image_folder.Image.

    Attributes:
        root: place of the root's inode.
        file: its tables.
    """

    def __init__(self, file: int) -> None:
        """Begin.

        Raises:
            StoreError: it is no image that hpcbox writes.
        """
        self.file = SquashfsFile(file)
        self.root = self.file.root
        self._folders = FolderCache()

    def node(self, number: int) -> Node:
        """Return an inode as a node without children and xattrs.

        Raises:
            StoreError: the image is damaged.
        """
        inode = self.file.inode(number)
        node = Node(inode.kind, inode.mode, inode.mtime_ns)
        node.names = inode.names
        node.target = inode.target
        if inode.kind == FOLDER:
            node.is_opaque = is_opaque(self.file.attributes(inode.attributes))
        else:
            node.size_bytes = inode.size
        return node

    def names(self, number: int) -> dict[bytes, int]:
        """Return what is in a folder: name → place of its inode.

        Raises:
            StoreError: the image is damaged, or this is no folder.
        """
        return self._folders.get(number, self._read_names)

    def xattrs(self, number: int) -> dict[bytes, bytes]:
        """Return the extended attributes of an inode, all of them.

        Raises:
            StoreError: the image is damaged.
        """
        return self.file.attributes(self.file.inode(number).attributes)

    def open(self, number: int) -> int:
        """Return a descriptor of a copy, in memory, of a file's content.

        Raises:
            OSError: it isn't a file, or too large for that.
            StoreError: the image is damaged.
        """
        inode = self.file.inode(number)
        return copy_in_memory(inode.kind, inode.size, lambda copy: self.copy(number, copy))

    def copy(self, number: int, target: int) -> None:
        """Append a file's content to a file; see LayerFolder."""
        inode = self.file.inode(number)
        start = os.lseek(target, 0, os.SEEK_END)
        for offset, piece in self.content(inode):
            write_at(target, piece, start + offset)
        os.ftruncate(target, start + inode.size)

    def content(self, inode: Inode) -> Iterator[tuple[int, bytes]]:
        """Yield a file's content in pieces, each with its offset; what lies between is zeros.

        Raises:
            StoreError: the image is damaged.
        """
        if inode.size and not inode.sizes:
            start, word = self.file.fragment(inode.fragment)
            block = self._block(start, word, BLOCK)
            piece = block[inode.offset : inode.offset + inode.size]
            if len(piece) != inode.size:
                raise damaged("a file is longer than its fragment")
            yield 0, piece
        position = inode.start
        for number, word in enumerate(memoryview(inode.sizes).cast("I")):
            if word:
                offset = number * BLOCK
                yield offset, self._block(position, word, min(BLOCK, inode.size - offset))
                position += checked_word(word)[0]

    def _block(self, position: int, word: int, maximum: int) -> bytes:
        size, is_packed = checked_word(word)
        content = self.file.bytes_at(position, size)
        return decompressed(content, maximum) if is_packed else content

    def _read_names(self, number: int) -> dict[bytes, int]:
        inode = self.file.inode(number)
        if not stat.S_ISDIR(inode.kind):
            raise damaged("a folder is none")
        table = self.file.folder_table(inode)
        found: dict[bytes, int] = {}
        at = 0
        while at < len(table):
            at = _read_entries(table, at, found)
        return found


def _read_entries(table: bytes, at: int, found: dict[bytes, int]) -> int:
    """Read the entries below one header of a folder's table; return where the next one is."""
    try:
        count, block, _ = squashfs.ENTRIES.unpack_from(table, at)
        at += squashfs.ENTRIES.size
        for _ in range(min(count, squashfs.MAXIMUM_ENTRIES - 1) + 1):
            offset, _, _, size = squashfs.ENTRY.unpack_from(table, at)
            start = at + squashfs.ENTRY.size
            at = start + size + 1
            name = table[start:at]
            if at > len(table) or b"/" in name or b"\0" in name or name in _NOT_NAMES:
                raise damaged("a folder has a name that none can have")
            found[name] = block << 16 | offset
    except struct.error as error:
        raise damaged("a folder's table makes no sense") from error
    return at

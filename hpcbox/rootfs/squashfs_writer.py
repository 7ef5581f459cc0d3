"""Writes the tables of a squashfs image: all but the content of files (squashfs_blocks.py).

Whatever has a name is written before the folder that it lies in, so a folder knows where its
inodes are. The same tree gives the same bytes.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from hpcbox.rootfs import squashfs_format as squashfs
from hpcbox.rootfs import whiteouts
from hpcbox.rootfs.squashfs_blocks import BlockWriter, compressor
from hpcbox.rootfs.squashfs_format import BLOCK, BLOCK_BITS, METADATA, NO_TABLE, NONE
from hpcbox.rootfs.tree import FIFO, FILE, FOLDER, SYMLINK, Node

_NANOSECONDS = 10**9
_LATEST = 2**32 - 1
_LARGEST_SHORT_FOLDER = 2**16 - 1
# Of an inode's number against the one that a group of entries begins with.
_FARTHEST = 2**15 - 1


def write(file: BinaryIO, root: Node, blocks: BlockWriter) -> None:
    """Write the tables behind the blocks and then, last, the superblock.

    Raises:
        OSError: the file can't be written.
    """
    blocks.finish()
    writing = _Tables(blocks)
    root_place = writing.add(root)
    start = blocks.position
    inodes, folders = writing.inodes.finish(), writing.folders.finish()
    folder_start = start + len(inodes)
    position = folder_start + len(folders)
    file.write(inodes + folders)
    fragments, fragment_start = _table(bytes(blocks.fragments), position)
    owners, owner_start = _table(bytes(4), position + len(fragments))
    position += len(fragments) + len(owners)
    attributes, attribute_start = writing.attributes.finish(position)
    file.write(fragments + owners + attributes)
    used = position + len(attributes)
    file.write(bytes(-used % squashfs.ALIGNMENT))
    file.seek(0)
    file.write(
        squashfs.SUPER.pack(
            squashfs.MAGIC,
            writing.count,
            0,
            BLOCK,
            len(blocks.fragments) // squashfs.FRAGMENT.size,
            squashfs.ZSTD,
            BLOCK_BITS,
            0,
            1,
            *squashfs.VERSION,
            root_place,
            used,
            owner_start,
            attribute_start,
            start,
            folder_start,
            fragment_start,
            NO_TABLE,
        )
    )
    file.flush()


class _Metadata:
    """A table in metadata blocks, collected in memory."""

    def __init__(self) -> None:
        self._compress = compressor().compress
        self._done = bytearray()
        self._begun = bytearray()
        self.starts: list[int] = []

    @property
    def place(self) -> tuple[int, int]:
        """The metadata block, and the offset in it, where the next bytes will lie."""
        return len(self._done), len(self._begun)

    def add(self, content: bytes) -> None:
        begun = self._begun
        begun += content
        while len(begun) >= METADATA:
            self._pack(bytes(begun[:METADATA]))
            del begun[:METADATA]

    def finish(self) -> bytes:
        if self._begun:
            self._pack(bytes(self._begun))
            self._begun.clear()
        return bytes(self._done)

    def _pack(self, block: bytes) -> None:
        self.starts.append(len(self._done))
        packed = self._compress(block)
        header = len(packed)
        if header >= len(block):
            packed, header = block, len(block) | squashfs.STORED
        self._done += header.to_bytes(2, "little") + packed


def _table(content: bytes, position: int) -> tuple[bytes, int]:
    """Return a table that ends in the positions of its blocks, and where those begin."""
    if not content:
        return b"", NO_TABLE
    table = _Metadata()
    table.add(content)
    packed = table.finish()
    return packed + _positions(table.starts, position), position + len(packed)


def _positions(starts: list[int], position: int) -> bytes:
    return struct.pack(f"<{len(starts)}Q", *(position + start for start in starts))


class _Attributes:
    """The extended attributes of all inodes, each different set once."""

    def __init__(self) -> None:
        self._values = _Metadata()
        self._sets = bytearray()
        self._known: dict[bytes, int] = {}

    def number(self, node: Node) -> int:
        """Return the number of the set that a node has, NONE without any."""
        if not node.is_opaque and not node.xattrs:
            return NONE
        attributes = dict(node.xattrs or {})
        if node.is_opaque:
            attributes[os.fsencode(whiteouts.OPAQUE_ATTRIBUTE)] = b"y"
        pieces = []
        size = 0
        for name, value in sorted(attributes.items()):
            short = name.removeprefix(squashfs.USER_PREFIX)
            head = squashfs.ATTRIBUTE.pack(squashfs.USER, len(short))
            pieces.append(head + short + squashfs.VALUE.pack(len(value)) + value)
            # The kernel counts what listxattr(2) gives.
            size += len(name) + 1
        packed = b"".join(pieces)
        number = self._known.get(packed)
        if number is None:
            number = self._known[packed] = len(self._known)
            block, offset = self._values.place
            self._sets += squashfs.ATTRIBUTE_SET.pack(block << 16 | offset, len(pieces), size)
            self._values.add(packed)
        return number

    def finish(self, position: int) -> tuple[bytes, int]:
        """Return all, and where the table of the sets begins."""
        if not self._known:
            # No file has this one, but without a table the kernel says of all files that they
            # can't have attributes (EOPNOTSUPP), which on a layer's path no program expects.
            unused = Node(FOLDER, 0, 0)
            unused.is_opaque = True
            self.number(unused)
        values = self._values.finish()
        sets = _Metadata()
        sets.add(bytes(self._sets))
        packed = sets.finish()
        head = squashfs.ATTRIBUTE_TABLE.pack(position, len(self._known), 0)
        start = position + len(values)
        table = values + packed + head + _positions(sets.starts, start)
        return table, start + len(packed)


class _Entry:
    """A name in a folder whose inode has been written."""

    __slots__ = ("block", "kind", "name", "number", "offset")

    def __init__(self, name: bytes, kind: int, number: int, place: tuple[int, int]) -> None:
        self.name = name
        self.kind = kind
        self.number = number
        self.block, self.offset = place


class _Open:
    """A folder that is being written: what is in it comes first."""

    def __init__(self, name: bytes, node: Node, number: int, parent: int) -> None:
        self.name = name
        self.node = node
        self.number = number
        self.parent = parent
        self.left: Iterator[tuple[bytes, Node]] = iter(sorted((node.children or {}).items()))
        self.entries: list[_Entry] = []
        self.folders = 0


class _Tables:
    """The tables of inodes, folders and attributes of one tree."""

    def __init__(self, blocks: BlockWriter) -> None:
        self.inodes = _Metadata()
        self.folders = _Metadata()
        self.attributes = _Attributes()
        self.count = 0
        self._sizes = blocks.sizes
        self._placed: dict[Node, tuple[int, tuple[int, int]]] = {}

    def add(self, root: Node) -> int:
        """Write a tree; return where the inode of its root is."""
        opened = [_Open(b"", root, self._number(), 0)]
        while True:
            folder = opened[-1]
            for name, node in folder.left:
                if node.kind == FOLDER:
                    opened.append(_Open(name, node, self._number(), folder.number))
                    break
                number, place = self._leaf(node)
                folder.entries.append(_Entry(name, squashfs.TYPES[node.kind], number, place))
            else:
                opened.pop()
                if not opened:
                    # Above the root is a number that no inode has.
                    folder.parent = self.count + 1
                place = self._folder(folder)
                if not opened:
                    return place[0] << 16 | place[1]
                entry = _Entry(folder.name, squashfs.FOLDER, folder.number, place)
                opened[-1].entries.append(entry)
                opened[-1].folders += 1

    def _number(self) -> int:
        self.count += 1
        return self.count

    def _leaf(self, node: Node) -> tuple[int, tuple[int, int]]:
        if node.names > 1:
            known = self._placed.get(node)
            if known is None:
                known = self._placed[node] = self._new_leaf(node)
            return known
        return self._new_leaf(node)

    def _new_leaf(self, node: Node) -> tuple[int, tuple[int, int]]:
        number, place = self._number(), self.inodes.place
        if node.kind == FILE:
            self._file(node, number)
            return number, place
        head = self._head(squashfs.TYPES[node.kind], node, number)
        if node.kind == SYMLINK:
            body = squashfs.SYMLINK_INODE.pack(node.names, len(node.target)) + node.target
        elif node.kind == FIFO:
            body = squashfs.FIFO_INODE.pack(node.names)
        else:
            body = squashfs.DEVICE_INODE.pack(node.names, 0)
        self.inodes.add(head + body)
        return number, place

    def _file(self, node: Node, number: int) -> None:
        attributes = self.attributes.number(node)
        size, start = node.size_bytes, node.offset
        fragment, offset, sizes = NONE, 0, b""
        if size >= BLOCK:
            sizes = self._sizes[node]
        elif size:
            fragment, offset = divmod(start, BLOCK)
            start = 0
        else:
            start = 0
        if node.names == 1 and attributes == NONE and max(start, size) < NONE:
            head = self._head(squashfs.FILE, node, number)
            body = squashfs.FILE_INODE.pack(start, fragment, offset, size)
        else:
            holes = _hole_bytes(size, sizes)
            head = self._head(squashfs.FILE + squashfs.EXTENDED, node, number)
            body = squashfs.LONG_FILE_INODE.pack(
                start, size, holes, node.names, fragment, offset, attributes
            )
        self.inodes.add(head + body + sizes)

    def _folder(self, folder: _Open) -> tuple[int, int]:
        block, offset = self.folders.place
        size = squashfs.FOLDER_SIZE_MORE
        for group in _groups(folder.entries):
            packed = _packed(group)
            self.folders.add(packed)
            size += len(packed)
        place = self.inodes.place
        attributes = self.attributes.number(folder.node)
        names = 2 + folder.folders
        if attributes == NONE and size <= _LARGEST_SHORT_FOLDER:
            head = self._head(squashfs.FOLDER, folder.node, folder.number)
            body = squashfs.FOLDER_INODE.pack(block, names, size, offset, folder.parent)
        else:
            head = self._head(squashfs.FOLDER + squashfs.EXTENDED, folder.node, folder.number)
            body = squashfs.LONG_FOLDER_INODE.pack(
                names, size, block, folder.parent, 0, offset, attributes
            )
        self.inodes.add(head + body)
        return place

    @staticmethod
    def _head(kind: int, node: Node, number: int) -> bytes:
        # Whole seconds since 1970 are all that squashfs has.
        seconds = min(max(node.mtime_ns // _NANOSECONDS, 0), _LATEST)
        return squashfs.INODE.pack(kind, node.mode, 0, 0, seconds, number)


def _groups(entries: list[_Entry]) -> Iterator[list[_Entry]]:
    """Yield entries that may stand below one header, in order."""
    group: list[_Entry] = []
    for entry in entries:
        if group and (
            entry.block != group[0].block
            or abs(entry.number - group[0].number) > _FARTHEST
            or len(group) == squashfs.MAXIMUM_ENTRIES
        ):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _packed(group: list[_Entry]) -> bytes:
    first = group[0]
    pack = squashfs.ENTRY.pack
    pieces = [squashfs.ENTRIES.pack(len(group) - 1, first.block, first.number)]
    for entry in group:
        number = entry.number - first.number
        pieces.append(pack(entry.offset, number, entry.kind, len(entry.name) - 1) + entry.name)
    return b"".join(pieces)


def _hole_bytes(size: int, sizes: bytes) -> int:
    """Return how much of a file's content is in blocks of zeros."""
    words = memoryview(sizes).cast("I")
    holes = BLOCK * sum(word == 0 for word in words)
    if len(words) and words[-1] == 0:
        holes -= -size % BLOCK
    return holes

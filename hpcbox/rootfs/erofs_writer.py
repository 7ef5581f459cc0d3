"""Writing a tree of nodes as an erofs file system: names and modes; content lies elsewhere already.

Two layouts. An index has blocks of 512 bytes, as tar has, and speaks of other files (devices) for
the content: Linux 6.4. A full image has blocks of 4096 bytes and the content in front of the
metadata, in the same file: Linux 5.4. The same tree gives the same bytes.

The metadata go out in one pass, folder by folder from the root: a folder's inode gets its place
with its parent's entries, its own entries follow when their inodes have places.
"""

import os
from collections.abc import Sequence

from hpcbox.errors import StoreError
from hpcbox.rootfs import erofs_format as erofs
from hpcbox.rootfs import whiteouts
from hpcbox.rootfs.content import write_at
from hpcbox.rootfs.tree import FILE, FOLDER, SYMLINK, Node

INDEX_BLOCK_BITS = 9
FULL_BLOCK_BITS = 12

_FLUSH_BYTES = 2**22
_NANOSECONDS = 10**9
_SPECIAL = (b".", b"..")
_FOLDER_TYPE = erofs.TYPES[FOLDER]


def write_index(
    file: int, root: Node, device_bytes: Sequence[int], block_bits: int = INDEX_BLOCK_BITS
) -> None:
    """Write an index of a tree into an empty file.

    `device_bytes` are the sizes of the files that hold the content: the first is place 1. All
    content begins at blocks of the given size there.

    Raises:
        StoreError: a device is larger than the format can say.
        OSError: the file can't be written.
    """
    _Writing(file, block_bits, 0, device_bytes).run(root)


def write_full(file: int, root: Node, content_bytes: int) -> None:
    """Write a tree behind the content of its files, which is in the file already (place 0).

    The content begins at FULL_START or later, each file's at a multiple of 4096 bytes, and ends at
    `content_bytes`.

    Raises:
        StoreError: the content is larger than the format can say.
        OSError: the file can't be written.
    """
    _Writing(file, FULL_BLOCK_BITS, _up(content_bytes, 1 << FULL_BLOCK_BITS), ()).run(root)


FULL_START = 1 << FULL_BLOCK_BITS
"""Where the content of a full image may begin: the superblock is before it."""


class _Folder:
    """A folder whose inode has a place already.

    Attributes:
        node: the folder.
        nid: the inode's number.
        parent: the number of the folder that holds it.
        size_bytes: of its entries.
        ends: where the entries of each block end among all names.
        tail_bytes: size of the last block's entries if they lie behind the inode, else 0.
    """

    # The names themselves are not kept: a folder may have a hundred thousand folders that wait.
    __slots__ = ("ends", "nid", "node", "parent", "size_bytes", "tail_bytes")

    def __init__(self, node: Node, parent: int, block: int) -> None:
        self.node = node
        self.parent = parent
        self.nid = 0
        names = _names(_children(node))
        self.ends: list[int] = []
        used = 0
        for number, name in enumerate(names):
            size = erofs.ENTRY.size + len(name)
            if used + size > block:
                self.ends.append(number)
                used = 0
            used += size
        self.tail_bytes = used
        self.size_bytes = len(self.ends) * block + used
        self.ends.append(len(names))


class _Writing:
    def __init__(self, file: int, block_bits: int, start: int, devices: Sequence[int]) -> None:
        self._file = file
        self._bits = block_bits
        self._block = 1 << block_bits
        # Numbers of inodes count from here.
        self._start = start
        self._devices = [_up(size, self._block) >> block_bits for size in devices]
        for size in (start, *devices):
            self._check_size(size)
        self._flushed = start
        # The root's number has 16 bits, so the root is first; number 0 stays unused.
        head = erofs.SUPER_OFFSET + erofs.SUPER.size + erofs.DEVICE.size * len(devices)
        self._buffer = bytearray(_up(head, 64) if start == 0 else 64)
        self._placed: dict[Node, int] = {}
        self._inodes = 0

    def run(self, root: Node) -> None:
        first = _Folder(root, 0, self._block)
        self._reserve(first)
        first.parent = root_nid = first.nid
        pending = [first]
        while pending:
            pending += self._write_folder(pending.pop())
            self._flush_if_large()
        self._pad(self._block)
        self._flush()
        self._check_size(self._flushed)
        self._write_super(root_nid)

    def _check_size(self, size: int) -> None:
        if size >> self._bits >= erofs.MAXIMUM_BLOCKS:
            raise StoreError(
                f"a layer has {size} bytes, erofs takes {erofs.MAXIMUM_BLOCKS << self._bits}"
            )

    def _write_super(self, root_nid: int) -> None:
        head = erofs.SUPER.pack(
            erofs.MAGIC,
            0,
            erofs.COMPAT_MTIME,
            self._bits,
            0,
            root_nid,
            self._inodes,
            0,
            0,
            self._flushed >> self._bits,
            self._start >> self._bits,
            0,
            b"",
            b"",
            erofs.INCOMPAT_CHUNKED_FILE | erofs.INCOMPAT_DEVICE_TABLE if self._devices else 0,
            0,
            len(self._devices),
            (erofs.SUPER_OFFSET + erofs.SUPER.size) // erofs.DEVICE.size,
            0,
            0,
            0,
            0,
        )
        table = b"".join(erofs.DEVICE.pack(b"", count, 0) for count in self._devices)
        # Last: what has no superblock is no file system.
        write_at(self._file, head + table, erofs.SUPER_OFFSET)

    def _write_folder(self, folder: _Folder) -> list[_Folder]:
        """Write a folder's entries and the inodes of all that are no folders; return the others."""
        children = _children(folder.node)
        names = _names(children)
        inner: list[_Folder] = []
        # The number and type of each name's inode.
        nids: list[int] = []
        types: list[int] = []
        for name in names:
            node = children.get(name)
            if node is None:
                nids.append(folder.nid if name == b"." else folder.parent)
                types.append(_FOLDER_TYPE)
                continue
            if node.kind == FILE:
                nids.append(self._regular(node))
            elif node.kind == FOLDER:
                below = _Folder(node, folder.nid, self._block)
                self._reserve(below)
                inner.append(below)
                nids.append(below.nid)
            else:
                nids.append(self._leaf(node))
            types.append(erofs.TYPES[node.kind])
        blocks = _entry_blocks(names, folder.ends, nids, types)
        tail = blocks.pop() if folder.tail_bytes else b""
        first_block = self._append_blocks(blocks) if blocks else 0
        node = folder.node
        attributes = _attributes(node)
        layout = erofs.INLINE if tail else erofs.PLAIN
        links = 2 + len(inner)
        inode = self._inode(node, layout, first_block, folder.size_bytes, links, len(attributes))
        self._put((folder.nid * erofs.SLOT) + self._start, inode + attributes + tail)
        return inner

    def _regular(self, node: Node) -> int:
        """Write the inode of a file; return its number."""
        size = node.size_bytes
        if node.names > 1 or node.xattrs is not None or not size or not node.place:
            return self._leaf(node)
        bits = (size - 1).bit_length() - self._bits
        if bits > erofs.MAXIMUM_CHUNK_BITS:
            return self._leaf(node)
        # Nearly all files of an index are like this: one record for all that there is to say.
        self._inodes += 1
        seconds, nanoseconds = divmod(node.mtime_ns, _NANOSECONDS)
        place = self._flushed + len(self._buffer)
        self._buffer += erofs.FILE_IN_ONE_CHUNK.pack(
            erofs.CHUNKED,
            0,
            FILE | node.mode,
            0,
            size,
            max(bits, 0) | erofs.CHUNK_INDEXES,
            self._inodes & 0xFFFFFFFF,
            0,
            0,
            seconds,
            nanoseconds,
            1,
            0,
            node.place,
            node.offset >> self._bits,
        )
        return (place - self._start) // erofs.SLOT

    def _leaf(self, node: Node) -> int:
        """Write the inode of what is no folder, unless that is done; return its number."""
        if node.names > 1:
            placed = self._placed.get(node)
            if placed is None:
                placed = self._placed[node] = self._new_leaf(node)
            return placed
        return self._new_leaf(node)

    def _new_leaf(self, node: Node) -> int:
        attributes = _attributes(node) if node.xattrs else b""
        size = node.size_bytes
        layout, word, rest = erofs.PLAIN, 0, b""
        if node.kind == SYMLINK:
            size = len(node.target)
            if erofs.INODE.size + size <= self._block:
                layout, rest = erofs.INLINE, node.target
                self._make_room(erofs.INODE.size + size)
            else:
                word = self._append_blocks([node.target])
        elif node.kind == FILE and size:
            if node.place:
                layout = erofs.CHUNKED
                word, rest = self._chunks(node)
            else:
                word = node.offset >> self._bits
        buffer = self._buffer
        place = self._flushed + len(buffer)
        buffer += self._inode(node, layout, word, size, node.names, len(attributes))
        if attributes:
            buffer += attributes
            # Chunk indexes lie at multiples of their own size.
            if layout == erofs.CHUNKED:
                self._pad(erofs.CHUNK.size)
        buffer += rest
        self._pad(erofs.SLOT)
        return (place - self._start) // erofs.SLOT

    def _chunks(self, node: Node) -> tuple[int, bytes]:
        # One chunk if it can be: as many bits as the content's size has.
        bits = max((node.size_bytes - 1).bit_length() - self._bits, 0)
        bits = min(bits, erofs.MAXIMUM_CHUNK_BITS)
        first = node.offset >> self._bits
        count = -(-node.size_bytes >> (bits + self._bits))
        pack = erofs.CHUNK.pack
        chunks = b"".join(pack(0, node.place, first + (each << bits)) for each in range(count))
        return bits | erofs.CHUNK_INDEXES, chunks

    def _inode(  # noqa: PLR0917 - the fields of a record
        self, node: Node, layout: int, word: int, size: int, names: int, attribute_bytes: int
    ) -> bytes:
        self._inodes += 1
        seconds, nanoseconds = divmod(node.mtime_ns, _NANOSECONDS)
        return erofs.INODE.pack(
            layout,
            (attribute_bytes - erofs.ATTRIBUTES.size) // 4 + 1 if attribute_bytes else 0,
            node.kind | node.mode,
            0,
            size,
            word,
            self._inodes & 0xFFFFFFFF,
            0,
            0,
            seconds,
            nanoseconds,
            names,
        )

    def _reserve(self, folder: _Folder) -> None:
        """Keep room for a folder's inode and the last of its entries."""
        self._flush_if_large()
        size = erofs.INODE.size + len(_attributes(folder.node))
        if size + folder.tail_bytes > self._block:
            folder.tail_bytes = 0
        size += folder.tail_bytes
        if folder.tail_bytes:
            self._make_room(size)
        folder.nid = (self._flushed + len(self._buffer) - self._start) // erofs.SLOT
        self._buffer += bytes(_up(size, erofs.SLOT))

    def _make_room(self, size: int) -> None:
        """Begin a new block if so many bytes don't fit into this one."""
        if len(self._buffer) % self._block + size > self._block:
            self._pad(self._block)

    def _append_blocks(self, blocks: list[bytes]) -> int:
        """Append whole blocks, the number of the first of them."""
        self._pad(self._block)
        first = (self._flushed + len(self._buffer)) >> self._bits
        for content in blocks:
            self._buffer += content
            self._pad(self._block)
        return first

    def _pad(self, unit: int) -> None:
        missing = -len(self._buffer) % unit
        if missing:
            self._buffer += bytes(missing)

    def _put(self, position: int, content: bytes) -> None:
        at = position - self._flushed
        if at >= 0:
            self._buffer[at : at + len(content)] = content
        else:
            write_at(self._file, content, position)

    def _flush_if_large(self) -> None:
        if len(self._buffer) >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        # Whole blocks only: positions in the buffer and in the file have the same remainders.
        whole = len(self._buffer) & -self._block
        write_at(self._file, self._buffer[:whole], self._flushed)
        del self._buffer[:whole]
        self._flushed += whole


def _attributes(node: Node) -> bytes:
    """Return a node's extended attributes as they lie behind its inode."""
    if not node.is_opaque and not node.xattrs:
        return b""
    attributes = dict(node.xattrs or {})
    if node.is_opaque:
        attributes[os.fsencode(whiteouts.OPAQUE_ATTRIBUTE)] = b"y"
    pieces = [erofs.ATTRIBUTES.pack(0, 0)]
    for name, value in sorted(attributes.items()):
        short = name.removeprefix(erofs.USER_PREFIX)
        piece = erofs.ATTRIBUTE.pack(len(short), erofs.USER_INDEX, len(value)) + short + value
        pieces.append(piece + bytes(-len(piece) % 4))
    return b"".join(pieces)


def _entry_blocks(
    names: list[bytes], ends: list[int], nids: list[int], types: list[int]
) -> list[bytes]:
    """Return a folder's entries, block by block: all inodes' numbers, then all names."""
    blocks = []
    begin = 0
    pack = erofs.ENTRY.pack
    for end in ends:
        offset = (end - begin) * erofs.ENTRY.size
        heads = []
        for number in range(begin, end):
            heads.append(pack(nids[number], offset, types[number]))
            offset += len(names[number])
        blocks.append(b"".join(heads) + b"".join(names[begin:end]))
        begin = end
    return blocks


def _names(children: dict[bytes, Node]) -> list[bytes]:
    """Return all names of a folder as they follow each other on disk."""
    return sorted((*_SPECIAL, *children))


def _children(folder: Node) -> dict[bytes, Node]:
    return folder.children or {}


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit

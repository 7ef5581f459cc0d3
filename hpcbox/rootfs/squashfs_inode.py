"""A squashfs image as it is on disk: metadata blocks, inodes and attributes, read and checked.

The images are hpcbox's own (squashfs_writer.py); one that a disk has damaged is a StoreError, never
a hang. An inode's place is the position of its metadata block and the offset in it, as one number.
"""

import os
import stat
import struct
from collections import OrderedDict
from typing import NamedTuple

import zstandard

from hpcbox.rootfs import squashfs_format as squashfs
from hpcbox.rootfs.image_folder import damaged
from hpcbox.rootfs.squashfs_format import BLOCK, METADATA, NO_TABLE, NONE

_KEPT_BLOCKS = 128
_KINDS = {number: kind for kind, number in squashfs.TYPES.items()}
_MAXIMUM_TARGET = 4095


class Inode(NamedTuple):
    """One inode.

    Attributes:
        kind: as stat(2) has it, S_IFREG and so on.
        mode: permission bits.
        mtime_ns: nanoseconds since 1970.
        names: number of hardlinks.
        size: of a file's content; of a folder's table; of a symlink's target.
        start: where a file's first block is, or the metadata block of a folder's table.
        fragment: which fragment holds a file, or NONE.
        offset: where a file is in its fragment, or a folder's table in its block.
        sizes: what stands of a file's blocks, four bytes each.
        target: of a symlink.
        attributes: number of the set of extended attributes, or NONE.
    """

    kind: int
    mode: int
    mtime_ns: int
    names: int = 1
    size: int = 0
    start: int = 0
    fragment: int = NONE
    offset: int = 0
    sizes: bytes = b""
    target: bytes = b""
    attributes: int = NONE


class SquashfsFile:
    """The tables of an image.

    Attributes:
        root: place of the root's inode.
        blocks_end: where the blocks of files end and the tables begin.
    """

    def __init__(self, file: int) -> None:
        """Read the superblock; the descriptor stays the caller's.

        Raises:
            StoreError: it is no image that hpcbox writes.
        """
        self._file = file
        self._size = os.fstat(file).st_size
        fields = squashfs.SUPER.unpack(self.bytes_at(0, squashfs.SUPER.size))
        if fields[0] != squashfs.MAGIC or fields[9:11] != squashfs.VERSION:
            raise damaged("it has no superblock")
        if fields[3] != BLOCK or fields[5] != squashfs.ZSTD:
            raise damaged("it is none that this hpcbox has written")
        self._fragment_count = fields[4]
        self.root, self._end, _, self._attributes = fields[11:15]
        self.blocks_end, self._folders, self._fragments = fields[15:18]
        self._known: OrderedDict[int, tuple[bytes, int]] = OrderedDict()

    def bytes_at(self, position: int, size: int) -> bytes:
        """Return bytes of the image.

        Raises:
            StoreError: it has none there.
        """
        if position + size > self._size:
            raise damaged("it points behind its end")
        found = os.pread(self._file, size, position)
        if len(found) != size:
            raise damaged("it is shorter than it was")
        return found

    def inode(self, place: int) -> Inode:
        """Return the inode at a place.

        Raises:
            StoreError: there is none.
        """
        reader = _Reader(self, self.blocks_end + (place >> 16), place & 0xFFFF)
        kind, mode, _, _, seconds, _ = reader.take(squashfs.INODE)
        is_long = kind > squashfs.EXTENDED
        basic = kind - squashfs.EXTENDED if is_long else kind
        if basic not in _KINDS or (is_long and basic not in (squashfs.FILE, squashfs.FOLDER)):
            raise damaged("an inode is of a kind that this hpcbox doesn't write")
        inode = Inode(_KINDS[basic], stat.S_IMODE(mode), seconds * 10**9)
        if basic == squashfs.FILE:
            return _file(inode, reader, is_long=is_long)
        if basic == squashfs.FOLDER:
            return _folder(inode, reader, is_long=is_long)
        if basic == squashfs.SYMLINK:
            names, size = reader.take(squashfs.SYMLINK_INODE)
            if not 0 < size <= _MAXIMUM_TARGET:
                raise damaged("a symlink has a length that none can have")
            return inode._replace(names=names, size=size, target=reader.bytes(size))
        return inode._replace(names=reader.take(squashfs.FIFO_INODE)[0])

    def folder_table(self, inode: Inode) -> bytes:
        """Return the table of what is in a folder.

        Raises:
            StoreError: it isn't there.
        """
        reader = _Reader(self, self._folders + inode.start, inode.offset)
        return reader.bytes(max(inode.size - squashfs.FOLDER_SIZE_MORE, 0))

    def attributes(self, number: int) -> dict[bytes, bytes]:
        """Return a set of extended attributes.

        Raises:
            StoreError: there is none of this number.
        """
        if number == NONE or self._attributes == NO_TABLE:
            return {}
        head = squashfs.ATTRIBUTE_TABLE.size
        values, count, _ = squashfs.ATTRIBUTE_TABLE.unpack(self.bytes_at(self._attributes, head))
        if number >= count:
            raise damaged("a set of extended attributes isn't there")
        width = squashfs.ATTRIBUTE_SET.size
        positions = self._attributes + head
        place, length, _ = self._row(positions, number, width, squashfs.ATTRIBUTE_SET)
        reader = _Reader(self, values + (place >> 16), place & 0xFFFF)
        found = {}
        for _ in range(length):
            prefix, size = reader.take(squashfs.ATTRIBUTE)
            name = reader.bytes(size)
            value = reader.bytes(reader.take(squashfs.VALUE)[0])
            if prefix == squashfs.USER:
                found[squashfs.USER_PREFIX + name] = value
        return found

    def fragment(self, number: int) -> tuple[int, int]:
        """Return where a fragment is and the word that speaks of its size.

        Raises:
            StoreError: there is none of this number.
        """
        if number >= self._fragment_count:
            raise damaged("a fragment isn't there")
        row = self._row(self._fragments, number, squashfs.FRAGMENT.size, squashfs.FRAGMENT)
        return row[0], row[1]

    def fragment_table(self) -> bytes:
        """Return the table of all fragments.

        Raises:
            StoreError: it isn't there.
        """
        rows = (self.fragment(number) for number in range(self._fragment_count))
        return b"".join(squashfs.FRAGMENT.pack(start, word, 0) for start, word in rows)

    def metadata(self, position: int) -> tuple[bytes, int]:
        """Return the content of a metadata block and where the next one is.

        Raises:
            StoreError: there is none.
        """
        known = self._known.get(position)
        if known is not None:
            self._known.move_to_end(position)
            return known
        if position >= self._end:
            raise damaged("a table is longer than its place")
        header = int.from_bytes(self.bytes_at(position, 2), "little")
        size = header & ~squashfs.STORED
        content = self.bytes_at(position + 2, size)
        if not header & squashfs.STORED:
            content = decompressed(content, METADATA)
        if not content:
            raise damaged("a table has an empty block")
        block = self._known[position] = content, position + 2 + size
        if len(self._known) > _KEPT_BLOCKS:
            self._known.popitem(last=False)
        return block

    def _row(self, positions: int, number: int, width: int, row: struct.Struct) -> tuple[int, ...]:
        """Return a row of a table that ends in the positions of its blocks."""
        block, at = divmod(number, METADATA // width)
        start = int.from_bytes(self.bytes_at(positions + 8 * block, 8), "little")
        return _Reader(self, start, at * width).take(row)


class _Reader:
    """Reads on through metadata blocks."""

    def __init__(self, file: SquashfsFile, position: int, offset: int) -> None:
        self._file = file
        self._content, self._next = file.metadata(position)
        self._offset = offset
        if offset > len(self._content):
            raise damaged("a table points behind a block's end")

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.bytes(form.size))

    def bytes(self, size: int) -> bytes:
        pieces = []
        while size:
            if self._offset == len(self._content):
                self._content, self._next = self._file.metadata(self._next)
                self._offset = 0
            piece = self._content[self._offset : self._offset + size]
            self._offset += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)


def decompressed(packed: bytes, maximum: int) -> bytes:
    """Return what a compressed block holds.

    Raises:
        StoreError: it is damaged, or holds more than the maximum.
    """
    try:
        if zstandard.frame_content_size(packed) > maximum:
            raise damaged("a block is larger than blocks are")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=maximum)
    except zstandard.ZstdError as error:
        raise damaged(f"a block can't be decompressed: {error}") from error


def _file(inode: Inode, reader: _Reader, *, is_long: bool) -> Inode:
    names, attributes = 1, NONE
    if is_long:
        start, size, _, names, fragment, offset, attributes = reader.take(squashfs.LONG_FILE_INODE)
    else:
        start, fragment, offset, size = reader.take(squashfs.FILE_INODE)
    if (size < BLOCK) != (fragment != NONE or size == 0):
        raise damaged("a file lies where this hpcbox puts none")
    count = -(-size // BLOCK) if fragment == NONE else 0
    sizes = reader.bytes(4 * count)
    return inode._replace(
        names=names, size=size, start=start, fragment=fragment, offset=offset, sizes=sizes,
        attributes=attributes,
    )  # fmt: skip


def _folder(inode: Inode, reader: _Reader, *, is_long: bool) -> Inode:
    attributes = NONE
    if is_long:
        names, size, start, _, _, offset, attributes = reader.take(squashfs.LONG_FOLDER_INODE)
    else:
        start, names, size, offset, _ = reader.take(squashfs.FOLDER_INODE)
    return inode._replace(names=names, size=size, start=start, offset=offset, attributes=attributes)


def checked_word(word: int) -> tuple[int, bool]:
    """Return a block's size in the image, and whether it is compressed.

    Raises:
        StoreError: no block has this size.
    """
    size = word & ~squashfs.BLOCK_STORED
    if size > BLOCK:
        raise damaged("a block is larger than blocks are")
    return size, not word & squashfs.BLOCK_STORED

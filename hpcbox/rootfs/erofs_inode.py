"""Inodes of an erofs image as they are on disk: read and checked against the image's size.

Facts: Linux, fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. Uncompressed images only.
The images are hpcbox's own; one that a disk has damaged is a StoreError, never a hang.
"""

import os
import struct
from typing import NamedTuple

from hpcbox.rootfs import erofs_format as erofs
from hpcbox.rootfs.image_folder import damaged

_COMPACT = struct.Struct("<HHHHIIIIHHI")
_HOLE_BLOCK = 2**32 - 1
_CHUNK_BITS = 0x1F
_BLOCK_BITS = range(9, 17)
_WINDOW_BYTES = 2**16

# Incompatible features that this reader knows: chunked files, device table, and one that speaks of
# compressed files, of which there are none.
_KNOWN_FEATURES = 0x1 | erofs.INCOMPAT_CHUNKED_FILE | erofs.INCOMPAT_DEVICE_TABLE
HOLE = -1


class Piece(NamedTuple):
    """Bytes of a file: which of the form's files holds them (HOLE: none), where, how many."""

    place: int
    offset: int
    size: int


class Inode(NamedTuple):
    """One inode.

    Attributes:
        mode: kind and permission bits, as stat(2) has them.
        size: in bytes.
        names: number of hardlinks.
        mtime_ns: nanoseconds since 1970.
        layout: how the content is stored.
        start: the layout's own word: a block, a chunk format, a device number.
        xattrs: (offset, size) of the extended attributes in the image.
        end: where inode and attributes end.
    """

    mode: int
    size: int
    names: int
    mtime_ns: int
    layout: int
    start: int
    xattrs: tuple[int, int]
    end: int


class Inodes:
    """The inodes of an image.

    Attributes:
        root: number of the root's.
        block_bytes: size of a block.
        shared_xattrs: where extended attributes begin that inodes share.
    """

    def __init__(self, files: list[int]) -> None:
        """Read the superblock; the files are `image.erofs`, `data.1` and so on.

        Raises:
            StoreError: it is no image that hpcbox writes.
        """
        self._files = files
        self._sizes = [os.fstat(file).st_size for file in files]
        # Whoever reads a whole tree asks for one inode after the other, and for each several times.
        self._window, self._window_start = b"", 0
        self._last: tuple[int, Inode] | None = None
        fields = erofs.SUPER.unpack(self.read(erofs.SUPER_OFFSET, erofs.SUPER.size))
        magic, block_bits, features = fields[0], fields[3], fields[14]
        if magic != erofs.MAGIC or block_bits not in _BLOCK_BITS:
            raise damaged("it has no superblock")
        if features & ~_KNOWN_FEATURES:
            raise damaged("it uses features that this hpcbox doesn't know")
        self.block_bytes = 1 << block_bits
        self.root = fields[5]
        self._epoch_ns = fields[7] * 10**9 + fields[8]
        self._metadata = fields[10] * self.block_bytes
        self.shared_xattrs = fields[11] * self.block_bytes

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the image.

        Raises:
            StoreError: it has none there.
        """
        at = offset - self._window_start
        if at < 0 or at + size > len(self._window):
            self._check(Piece(0, offset, size))
            self._window = os.pread(self._files[0], max(size, _WINDOW_BYTES), offset)
            self._window_start, at = offset, 0
            if len(self._window) < size:
                raise damaged("it is shorter than it was")
        return self._window[at : at + size]

    def inode(self, number: int) -> Inode:
        """Return an inode.

        Raises:
            StoreError: there is none of this number.
        """
        if self._last is None or self._last[0] != number:
            self._last = number, self._read_inode(number)
        return self._last[1]

    def _read_inode(self, number: int) -> Inode:
        start = self._metadata + number * erofs.SLOT
        head = self.read(start, _COMPACT.size)
        word = int.from_bytes(head[:2], "little")
        if word & 1:
            _, count, mode, _, size, at, _, _, _, seconds, nanoseconds, names = erofs.INODE.unpack(
                self.read(start, erofs.INODE.size)
            )
            time_ns, width = seconds * 10**9 + nanoseconds, erofs.INODE.size
        else:
            _, count, mode, names, size, _, at, _, _, _, _ = _COMPACT.unpack(head)
            time_ns, width = self._epoch_ns, _COMPACT.size
        xattrs = erofs.ATTRIBUTES.size + 4 * (count - 1) if count else 0
        layout = word | 1
        if layout not in (erofs.PLAIN, erofs.INLINE, erofs.CHUNKED):
            raise damaged(f"inode {number} has a layout that this hpcbox doesn't know")
        end = start + width
        return Inode(mode, size, names, time_ns, layout, at, (end, xattrs), end + xattrs)

    def pieces(self, inode: Inode) -> list[Piece]:
        """Return where the content of a file, folder or symlink lies, in order.

        Neighbours that follow each other in one file are one piece.

        Raises:
            StoreError: it lies where there is nothing.
        """
        if inode.layout == erofs.CHUNKED:
            pieces = self._chunks(inode)
        elif inode.layout == erofs.INLINE:
            tail = inode.size % self.block_bytes
            start = inode.start * self.block_bytes
            pieces = [Piece(0, start, inode.size - tail), Piece(0, inode.end, tail)]
        else:
            pieces = [Piece(0, inode.start * self.block_bytes, inode.size)]
        joined: list[Piece] = []
        for piece in pieces:
            last = joined[-1] if joined else None
            if last and last.place == piece.place and _follows(last, piece):
                joined[-1] = last._replace(size=last.size + piece.size)
            elif piece.size:
                joined.append(piece)
        for piece in joined:
            self._check(piece)
        return joined

    def _chunks(self, inode: Inode) -> list[Piece]:
        has_indexes = bool(inode.start & erofs.CHUNK_INDEXES)
        width, align = (8, 8) if has_indexes else (4, 4)
        chunk_bytes = self.block_bytes << (inode.start & _CHUNK_BITS)
        count = -(-inode.size // chunk_bytes)
        table = self.read(-(-inode.end // align) * align, count * width)
        pieces = []
        for number in range(count):
            place, block = 0, int.from_bytes(table[number * 4 : number * 4 + 4], "little")
            if has_indexes:
                _, place, block = erofs.CHUNK.unpack_from(table, number * width)
            size = min(chunk_bytes, inode.size - number * chunk_bytes)
            if block == _HOLE_BLOCK:
                pieces.append(Piece(HOLE, 0, size))
            else:
                pieces.append(Piece(place, block * self.block_bytes, size))
        return pieces

    def _check(self, piece: Piece) -> None:
        if piece.place == HOLE:
            return
        if piece.place >= len(self._files) or piece.offset + piece.size > self._sizes[piece.place]:
            raise damaged("it points behind its end")


def _follows(last: Piece, piece: Piece) -> bool:
    return last.place == HOLE or last.offset + last.size == piece.offset

"""The content of files in a squashfs image, compressed as it comes.

A file of a block or more has blocks of its own, one behind the other. Smaller files share blocks,
the fragments: as a whole they are one space of addresses, in which a small file has its offset.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO

import zstandard

from hpcbox.rootfs import squashfs_format as squashfs
from hpcbox.rootfs.squashfs_format import BLOCK
from hpcbox.rootfs.tree import Node

# The quickest level that is smaller than lz4, and no slower.
_LEVEL = 1
_ZEROS = bytes(BLOCK)


def compressor() -> zstandard.ZstdCompressor:
    """Return what compresses all blocks of an image; for one thread."""
    return zstandard.ZstdCompressor(level=_LEVEL)


class BlockWriter:
    """Writes the content of files behind each other into an image.

    `Node.offset` of a file becomes the position of its first block, or in fragments.

    Attributes:
        position: where the next block begins.
        sizes: per file of a block or more, what its inode says of its blocks: four bytes each.
        fragments: the table of fragments.
    """

    def __init__(self, file: BinaryIO, position: int = squashfs.SUPER.size) -> None:
        """Write to a file from this position on."""
        file.seek(position)
        self._file = file
        self._compress = compressor().compress
        self._fragment = bytearray()
        self.position = position
        self.sizes: dict[Node, bytes] = {}
        self.fragments = bytearray()

    def add(self, node: Node, content: Iterable[tuple[int, bytes]]) -> None:
        """Write a file's content, given in pieces with their offsets; what lies between is zeros.

        Raises:
            OSError: the file can't be written.
        """
        node.place = 0
        if node.size_bytes < BLOCK:
            node.offset = self._add_small(node.size_bytes, content)
            return
        node.offset = self.position
        words = [self._write(block) for block in _blocks(node.size_bytes, content)]
        self.sizes[node] = b"".join(word.to_bytes(4, "little") for word in words)

    def finish(self) -> None:
        """Write what is left.

        Raises:
            OSError: the file can't be written.
        """
        if self._fragment:
            self._finish_fragment()

    def _add_small(self, size: int, content: Iterable[tuple[int, bytes]]) -> int:
        if len(self._fragment) + size > BLOCK:
            self._finish_fragment()
        fragment = self._fragment
        start = len(fragment)
        for offset, piece in content:
            if start + offset > len(fragment):
                fragment += bytes(start + offset - len(fragment))
            fragment += piece
        fragment += bytes(start + size - len(fragment))
        return len(self.fragments) // squashfs.FRAGMENT.size * BLOCK + start

    def _finish_fragment(self) -> None:
        position = self.position
        # Not as a block of zeros: a fragment has to be there.
        word = self._write(bytes(self._fragment), may_be_hole=False)
        self.fragments += squashfs.FRAGMENT.pack(position, word, 0)
        self._fragment.clear()

    def _write(self, block: bytes, *, may_be_hole: bool = True) -> int:
        """Write a block; return the word that speaks of it."""
        if may_be_hole and (block == _ZEROS or (len(block) < BLOCK and not any(block))):
            return 0
        packed = self._compress(block)
        word = len(packed)
        if word >= len(block):
            packed, word = block, len(block) | squashfs.BLOCK_STORED
        self._file.write(packed)
        self.position += len(packed)
        return word


def _blocks(size: int, content: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """Yield a file's content in blocks; the last one may be shorter."""
    begun = bytearray()
    whole = 0
    for offset, piece in chain(content, [(size, b"")]):
        hole = offset - whole - len(begun)
        while hole > 0:
            step = min(hole, BLOCK - len(begun))
            begun += _ZEROS[:step]
            hole -= step
            if len(begun) == BLOCK:
                yield bytes(begun)
                whole += BLOCK
                begun.clear()
        at = 0
        if begun:
            at = BLOCK - len(begun)
            begun += piece[:at]
            if len(begun) < BLOCK:
                continue
            yield bytes(begun)
            whole += BLOCK
            begun.clear()
        while len(piece) - at >= BLOCK:
            yield piece[at : at + BLOCK]
            whole += BLOCK
            at += BLOCK
        begun += piece[at:]
    if begun:
        yield bytes(begun)

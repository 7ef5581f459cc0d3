"""A squashfs layer's copy that is being settled: its tree in memory, its blocks as they are.

The compressed blocks are copied from file to file, unread; only the tables are written anew, and
what is taken from layers below is compressed behind the blocks.
"""

import os
import tempfile
from collections.abc import Iterator

from hpcbox.rootfs import squashfs_writer
from hpcbox.rootfs.content import new_file
from hpcbox.rootfs.erofs_inode import Piece
from hpcbox.rootfs.erofs_view import copy_pieces
from hpcbox.rootfs.layer_view import LayerFolder
from hpcbox.rootfs.squashfs_blocks import BlockWriter
from hpcbox.rootfs.squashfs_format import BLOCK
from hpcbox.rootfs.squashfs_view import SquashfsImage
from hpcbox.rootfs.tree import Node
from hpcbox.rootfs.tree_copy import TreeCopy, count_names, tree_of
from hpcbox.store.paths import SQUASHFS_IMAGE

_PIECE = 2**18


class SquashfsCopy(TreeCopy):
    """A copy in an empty layer folder; see LayerCopy."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._file = os.fdopen(new_file(f"{folder}/{SQUASHFS_IMAGE}"), "r+b", _PIECE)
        self._blocks = BlockWriter(self._file)

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def fill(self, layer: int, files: list[int]) -> None:  # noqa: ARG002 - other forms need it
        """Read a layer; see TreeCopy."""
        image = SquashfsImage(files[0])
        copy_pieces(files, [Piece(0, 0, image.file.blocks_end)], self._file.fileno())
        blocks = self._blocks = BlockWriter(self._file, image.file.blocks_end)
        blocks.fragments += image.file.fragment_table()

        def place(node: Node, number: int) -> None:
            inode = image.file.inode(number)
            node.place = 0
            if inode.sizes:
                node.offset = inode.start
                blocks.sizes[node] = inode.sizes
            elif inode.size:
                node.offset = inode.fragment * BLOCK + inode.offset

        self._root = tree_of(image, place)

    def finish(self) -> None:
        """Write the tables."""
        count_names(self._root)
        squashfs_writer.write(self._file, self._root, self._blocks)

    def _add_content(self, node: Node, folder: LayerFolder, name: bytes) -> None:
        with tempfile.TemporaryFile(dir=self._folder) as copy:
            folder.copy(name, copy.fileno())
            self._blocks.add(node, _pieces(copy.fileno()))


def _pieces(file: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while piece := os.pread(file, _PIECE, offset):
        yield offset, piece
        offset += len(piece)

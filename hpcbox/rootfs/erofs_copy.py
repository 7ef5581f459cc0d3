"""An erofs layer's copy that is being settled: its tree in memory, written as another index.

No data is copied: the new index speaks of the same files, which get one more name each, and a whole
image becomes the first of them. Only what is taken from layers below has its bytes written, to a
file of its own.
"""

import os

from hpcbox.rootfs import erofs_writer
from hpcbox.rootfs.erofs_inode import Piece
from hpcbox.rootfs.erofs_view import ErofsImage, copy_pieces
from hpcbox.rootfs.layer_view import LayerFolder
from hpcbox.rootfs.tree import Node
from hpcbox.rootfs.tree_copy import TreeCopy, count_names, tree_of
from hpcbox.store.paths import EROFS_IMAGE, data

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_ONLY = 0o444
# Content begins at the blocks of whichever image speaks of it.
_ALIGNMENT = 4096


class ErofsCopy(TreeCopy):
    """A copy in an empty layer folder; see LayerCopy."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._block_bits = erofs_writer.INDEX_BLOCK_BITS
        self._data_bytes: list[int] = []
        self._extra = -1

    def __exit__(self, *_error: object) -> None:
        if self._extra >= 0:
            os.close(self._extra)

    def fill(self, layer: int, files: list[int]) -> None:
        """Read a layer; see TreeCopy. `files` are `image.erofs`, `data.1` and so on."""
        names = [data(number) for number in range(1, len(files))] or [EROFS_IMAGE]
        for number, name in enumerate(names, 1):
            os.link(name, f"{self._folder}/{data(number)}", src_dir_fd=layer, follow_symlinks=False)
        self._data_bytes = [os.fstat(file).st_size for file in files[-len(names) :]]
        self._extra = os.open(f"{self._folder}/{data(len(names) + 1)}", _NEW, _READ_ONLY)
        image = ErofsImage(files)
        self._block_bits = image.inodes.block_bytes.bit_length() - 1

        def place(node: Node, number: int) -> None:
            self._place(node, image.inodes.pieces(image.inodes.inode(number)), files)

        self._root = tree_of(image, place)

    def finish(self) -> None:
        """Write the new index."""
        count_names(self._root)
        sizes = list(self._data_bytes)
        # The kernel reads whole blocks, of the last file too.
        extra_bytes = _aligned(self._extra)
        if extra_bytes:
            sizes.append(extra_bytes)
        else:
            os.unlink(f"{self._folder}/{data(len(sizes) + 1)}")
        image = os.open(f"{self._folder}/{EROFS_IMAGE}", _NEW, _READ_ONLY)
        try:
            erofs_writer.write_index(image, self._root, sizes, self._block_bits)
        finally:
            os.close(image)

    def _add_content(self, node: Node, folder: LayerFolder, name: bytes) -> None:
        node.place = len(self._data_bytes) + 1
        node.offset = _aligned(self._extra)
        folder.copy(name, self._extra)

    def _place(self, node: Node, pieces: list[Piece], files: list[int]) -> None:
        is_whole = len(files) == 1
        place = pieces[0].place + is_whole if pieces else 0
        if len(pieces) == 1 and place > 0:
            node.place = place
            node.offset = pieces[0].offset
        elif pieces:
            # It isn't in one piece, so it is copied.
            node.place = max(len(files) - 1, 1) + 1
            node.offset = _aligned(self._extra)
            copy_pieces(files, pieces, self._extra)


def _aligned(file: int) -> int:
    """Make a file as long as content may begin behind; return that length."""
    length = -(-os.fstat(file).st_size // _ALIGNMENT) * _ALIGNMENT
    os.ftruncate(file, length)
    return length

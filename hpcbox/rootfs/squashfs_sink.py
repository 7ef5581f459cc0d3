"""A sink that makes a compressed file system image in one pass over a layer's tar."""

import os

from hpcbox.image.source import ByteStream
from hpcbox.rootfs import squashfs_writer, tar
from hpcbox.rootfs.content import new_file
from hpcbox.rootfs.layer_image import grown
from hpcbox.rootfs.settled import SettlingSink
from hpcbox.rootfs.squashfs_blocks import BlockWriter
from hpcbox.rootfs.tree import Node
from hpcbox.store.paths import SQUASHFS_IMAGE
from hpcbox.store.sink import Budget, Unpacked

_BUFFER_BYTES = 2**20


class SquashfsSink(SettlingSink):
    """Makes one squashfs image that holds everything: few bytes on disk, zstd to read them.

    Written by our own code, as erofs is: sqfstar(1) knows neither whiteouts nor entries that
    replace others, takes longer, and is one more program to trust with a stranger's tar.
    """

    def unpack(self, stream: ByteStream, folder: str, budget: Budget) -> Unpacked:
        """Write a layer's image into a layer folder.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            ImageTooLarge: the budget is spent.
            OSError: the folder can't be written.
        """
        with os.fdopen(new_file(f"{folder}/{SQUASHFS_IMAGE}"), "r+b", _BUFFER_BYTES) as image:
            blocks = BlockWriter(image)

            def place(node: Node, _entry: tar.Entry, reader: tar.TarReader) -> None:
                blocks.add(node, reader.content())

            tree, entries = grown(tar.TarReader(tar.pieces_of(stream)), budget, place)
            squashfs_writer.write(image, tree.root, blocks)
        return Unpacked(entries, tree.needs())

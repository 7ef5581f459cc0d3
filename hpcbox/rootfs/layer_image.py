"""Sinks that make a file system image of a layer in one pass over its tar.

An index (IndexSink) leaves the tar as it came and speaks of it: nothing is written twice, and
nothing is moved. A full image (ErofsSink) is one file and needs a less recent kernel.
"""

import os
from collections.abc import Callable

from hpcbox.image.source import ByteStream
from hpcbox.rootfs import erofs_writer, tar
from hpcbox.rootfs.content import ContentFile, KeptTar, new_file
from hpcbox.rootfs.growing import LayerTree
from hpcbox.rootfs.settled import SettlingSink
from hpcbox.rootfs.tree import EXTRA, TAR, Node
from hpcbox.store.paths import EROFS_IMAGE, data
from hpcbox.store.sink import Budget, Unpacked


class IndexSink(SettlingSink):
    """Keeps a layer's tar and makes an erofs index of what is in it: Linux 6.4."""

    def unpack(self, stream: ByteStream, folder: str, budget: Budget) -> Unpacked:
        """Write the tar and its index into a layer folder.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            ImageTooLarge: the budget is spent.
            OSError: the folder can't be written.
        """
        kept = KeptTar(stream, new_file(f"{folder}/{data(TAR)}"))
        # Content that isn't in one piece in the tar: made when the first of it comes.
        extra: ContentFile | None = None

        def place(node: Node, entry: tar.Entry, reader: tar.TarReader) -> None:
            nonlocal extra
            if entry.segments is None:
                return
            if extra is None:
                extra = ContentFile(new_file(f"{folder}/{data(EXTRA)}"), 0)
            node.place = EXTRA
            node.offset = extra.add(node.size_bytes, reader.content())

        try:
            tree, entries = grown(tar.TarReader(kept.fill), budget, place)
            devices = [kept.finish()]
            if extra is not None:
                devices.append(extra.finish())
        finally:
            kept.close_file()
            if extra is not None:
                extra.close()
        image = new_file(f"{folder}/{EROFS_IMAGE}")
        try:
            erofs_writer.write_index(image, tree.root, devices)
        finally:
            os.close(image)
        return Unpacked(entries, tree.needs())


class ErofsSink(SettlingSink):
    """Makes one erofs image that holds everything: Linux 5.4."""

    def unpack(self, stream: ByteStream, folder: str, budget: Budget) -> Unpacked:
        """Write a layer's image into a layer folder.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            ImageTooLarge: the budget is spent.
            OSError: the folder can't be written.
        """
        image = new_file(f"{folder}/{EROFS_IMAGE}")
        content = ContentFile(image, erofs_writer.FULL_START)

        def place(node: Node, _entry: tar.Entry, reader: tar.TarReader) -> None:
            node.place = 0
            node.offset = content.add(node.size_bytes, reader.content())

        try:
            tree, entries = grown(tar.TarReader(tar.pieces_of(stream)), budget, place)
            erofs_writer.write_full(image, tree.root, content.finish())
        finally:
            content.close()
        return Unpacked(entries, tree.needs())


def grown(
    reader: tar.TarReader,
    budget: Budget,
    place: Callable[[Node, tar.Entry, tar.TarReader], None],
) -> tuple[LayerTree, int]:
    """Return the tree of a tar and how many entries it has; `place` is told of each file.

    Raises:
        LayerRejected: an entry may not be unpacked.
        BlobInvalid: the stream is no tar.
        ImageTooLarge: the budget is spent.
    """
    tree = LayerTree()
    entries = implied = 0
    for entry in reader:
        # Folders that are only implied count too: one entry can stand for hundreds.
        budget.spend_entries(1 + tree.implied - implied)
        implied = tree.implied
        entries += 1
        if entry.segments is not None:
            budget.spend_bytes(entry.hole_bytes)
        node = tree.add(entry)
        if node is not None and node.size_bytes:
            place(node, entry, reader)
    return tree, entries

"""Sinks that make a file system image of a layer in one pass over its tar."""

import os

from hpcbox.image.source import ByteStream
from hpcbox.rootfs import erofs_writer, tar
from hpcbox.rootfs.growing import LayerTree
from hpcbox.store.sink import Budget, Unpacked

IMAGE = "image.erofs"
TAR = "data.1"

_CHUNK = 2**18
_READ_ONLY = 0o444
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class IndexSink:
    """Keeps a layer's tar as it is and makes an erofs index of what is in it."""

    def unpack(self, stream: ByteStream, folder: str, budget: Budget) -> Unpacked:
        """Write the tar and its index into a layer folder.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            OSError: the folder can't be written.
        """
        data = os.open(f"{folder}/{TAR}", _NEW, _READ_ONLY)
        try:
            kept = _Kept(stream, data)
            tree, entries = _grown(tar.TarReader(kept), budget)
            # What follows the tar's end belongs to the layer's bytes, too.
            while kept.read(_CHUNK):
                pass
        finally:
            os.close(data)
        image = os.open(f"{folder}/{IMAGE}", _NEW, _READ_ONLY)
        try:
            erofs_writer.write_index(image, tree.root, [kept.size_bytes])
        finally:
            os.close(image)
        return Unpacked(entries, tree.needs())


class _Kept:
    """A stream whose bytes are written to a file as they are read."""

    def __init__(self, source: ByteStream, file: int) -> None:
        self._source = source
        self._file = file
        self.size_bytes = 0

    def read(self, size: int) -> bytes:
        piece = self._source.read(size)
        written = 0
        while written < len(piece):
            written += os.write(self._file, piece[written:] if written else piece)
        self.size_bytes += len(piece)
        return piece

    def close(self) -> None:
        self._source.close()

    def abort(self) -> None:
        self._source.abort()


def _grown(reader: tar.TarReader, budget: Budget) -> tuple[LayerTree, int]:
    tree = LayerTree()
    entries = 0
    implied = 0
    for entry in reader:
        # Folders that are only implied count too: one entry can stand for hundreds.
        budget.spend_entries(1 + tree.implied - implied)
        implied = tree.implied
        entries += 1
        tree.add(entry)
    return tree, entries

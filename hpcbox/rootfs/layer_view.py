"""One layer as its readers see it, whatever form it has: names, kinds, modes, bytes of files.

Reads by descriptor, without mounting: the service user may not mount, and to know what stands at a
few names this is cheaper anyway. Symlinks are never followed here. erofs_view.py and
squashfs_view.py read layers that are file system images.
"""

import os
import stat
from collections.abc import Iterator
from typing import Protocol, Self

from hpcbox.rootfs import whiteouts
from hpcbox.rootfs.erofs_inode import Piece
from hpcbox.rootfs.erofs_view import ErofsImage, copy_pieces
from hpcbox.rootfs.image_folder import Image, ImageFolder
from hpcbox.rootfs.tree import SYMLINK, Node
from hpcbox.store.opened_layer import DIRECTORY, EROFS, OpenedLayer

_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A fifo would wait for a writer.
_READ_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder(Protocol):
    """A folder of a layer, for looking. Whoever has a node leaves it as it is."""

    def itself(self) -> Node:
        """Return what the folder is, with its `is_opaque`."""

    def look(self, name: bytes) -> Node | None:
        """Return what has a name in it, a whiteout too, or None."""

    def enter(self, name: bytes) -> Self:
        """Return a folder in it, to be closed by the caller.

        Raises:
            OSError: there is no such folder.
        """

    def close(self) -> None:
        """Give back what it holds."""


class LayerFolder(Folder, Protocol):
    """A folder of a layer, for reading. Its nodes have neither children nor xattrs."""

    def names(self) -> Iterator[bytes]:
        """Yield the names in it, whiteouts too, in no order."""

    def xattrs(self, name: bytes) -> dict[bytes, bytes]:
        """Return the user's extended attributes of a name in it."""

    def open(self, name: bytes) -> int:
        """Open a file in it for reading; the descriptor is the caller's.

        Raises:
            OSError: it is a symlink, or can't be opened.
        """

    def copy(self, name: bytes, target: int) -> None:
        """Append the content of a file in it to a file.

        Raises:
            OSError: it can't be read or written.
        """


def opened(form: OpenedLayer) -> LayerFolder:
    """Return the root of a layer; the form stays the caller's, and open as long as this is used.

    Raises:
        StoreError: the layer is damaged.
    """
    if form.kind == DIRECTORY:
        return DirectoryFolder(os.open(".", _READ_FOLDER, dir_fd=form.descriptors[0]))
    image = _image(form)
    return ImageFolder(image, image.root)


def _image(form: OpenedLayer) -> Image:
    if form.kind == EROFS:
        return ErofsImage(form.descriptors)
    # Loads the decompressor, which nothing else here needs.
    from hpcbox.rootfs.squashfs_view import SquashfsImage  # noqa: PLC0415

    return SquashfsImage(form.descriptors[0])


class DirectoryFolder:
    """A folder on disk, by a descriptor that becomes this object's; see LayerFolder.

    Attributes:
        descriptor: of the folder, open for reading.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def itself(self) -> Node:
        """Return what the folder is, with its `is_opaque`."""
        node = _node(os.fstat(self.descriptor))
        node.is_opaque = whiteouts.is_opaque(self.descriptor)
        return node

    def look(self, name: bytes) -> Node | None:
        """Return what has a name in it, a whiteout too, or None."""
        try:
            node = _node(os.lstat(name, dir_fd=self.descriptor))
        except FileNotFoundError:
            return None
        if node.kind == SYMLINK:
            node.target = os.readlink(name, dir_fd=self.descriptor)
        return node

    def names(self) -> Iterator[bytes]:
        """Yield the names in it, whiteouts too, in no order."""
        with os.scandir(self.descriptor) as entries:
            for entry in entries:
                yield os.fsencode(entry.name)

    def enter(self, name: bytes) -> "DirectoryFolder":
        """Return a folder in it, to be closed by the caller."""
        return DirectoryFolder(os.open(name, _READ_FOLDER, dir_fd=self.descriptor))

    def xattrs(self, name: bytes) -> dict[bytes, bytes]:
        """Return the user's extended attributes of a name in it."""
        # By this path, as there is no listxattrat(2) before Linux 6.13.
        path = b"/proc/self/fd/%d/%s" % (self.descriptor, name)
        return {
            os.fsencode(attribute): os.getxattr(path, attribute, follow_symlinks=False)
            for attribute in os.listxattr(path, follow_symlinks=False)
            if attribute.startswith("user.") and not attribute.startswith("user.overlay.")
        }

    def open(self, name: bytes) -> int:
        """Open a file in it for reading; the descriptor is the caller's."""
        return os.open(name, _READ_FILE, dir_fd=self.descriptor)

    def copy(self, name: bytes, target: int) -> None:
        """Append the content of a file in it to a file."""
        source = self.open(name)
        try:
            pieces = [Piece(0, 0, os.fstat(source).st_size)]
            copy_pieces([source], pieces, target)
        finally:
            os.close(source)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def _node(status: os.stat_result) -> Node:
    node = Node(stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_mtime_ns)
    node.size_bytes = status.st_size
    return node

"""A folder of a layer that is a file system image, whatever its format; see layer_view.py.

Folders are read as a whole and the last ones are kept: a lookup costs a few microseconds.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Protocol

from hpcbox.errors import StoreError
from hpcbox.rootfs.tree import Node

_OPAQUE = b"user.overlay.opaque"
_OVERLAY = b"user.overlay."
_KEPT_FOLDERS = 64
# Copies of files are held in memory; libraries and databases of packages are far smaller.
_MAXIMUM_COPY = 256 * 2**20


class Image(Protocol):
    """A file system image; its inodes have numbers. All methods raise StoreError if it is damaged.

    Attributes:
        root: number of the root's inode.
    """

    root: int

    def node(self, number: int) -> Node:
        """Return an inode as a node without children and xattrs."""

    def names(self, number: int) -> dict[bytes, int]:
        """Return what is in a folder: name → number of its inode."""

    def xattrs(self, number: int) -> dict[bytes, bytes]:
        """Return the extended attributes of an inode, all of them."""

    def open(self, number: int) -> int:
        """Return a descriptor of a copy, in memory, of a file's content.

        Raises:
            OSError: it isn't a file, or too large for that.
        """

    def copy(self, number: int, target: int) -> None:
        """Append a file's content to a file."""


class FolderCache:
    """The names in the folders that were read last."""

    def __init__(self) -> None:
        self._folders: OrderedDict[int, dict[bytes, int]] = OrderedDict()

    def get(self, number: int, read: Callable[[int], dict[bytes, int]]) -> dict[bytes, int]:
        """Return what is in a folder, which is read if it isn't known."""
        known = self._folders.get(number)
        if known is not None:
            self._folders.move_to_end(number)
            return known
        found = self._folders[number] = read(number)
        if len(self._folders) > _KEPT_FOLDERS:
            self._folders.popitem(last=False)
        return found


class ImageFolder:
    """A folder of an image; see LayerFolder."""

    def __init__(self, image: Image, number: int) -> None:
        self._image = image
        self._number = number

    def itself(self) -> Node:
        """Return what the folder is, with its `is_opaque`."""
        return self._image.node(self._number)

    def look(self, name: bytes) -> Node | None:
        """Return what has a name in it, a whiteout too, or None."""
        number = self._image.names(self._number).get(name)
        return None if number is None else self._image.node(number)

    def names(self) -> Iterator[bytes]:
        """Yield the names in it, whiteouts too, in no order."""
        yield from self._image.names(self._number)

    def enter(self, name: bytes) -> "ImageFolder":
        """Return a folder in it, to be closed by the caller."""
        return ImageFolder(self._image, self._inside(name))

    def xattrs(self, name: bytes) -> dict[bytes, bytes]:
        """Return the user's extended attributes of a name in it."""
        return user_xattrs(self._image.xattrs(self._inside(name)))

    def open(self, name: bytes) -> int:
        """Open a copy of a file in it for reading; the descriptor is the caller's."""
        return self._image.open(self._inside(name))

    def copy(self, name: bytes, target: int) -> None:
        """Append the content of a file in it to a file."""
        self._image.copy(self._inside(name), target)

    def close(self) -> None:
        """Do nothing: the image's files are the form's."""

    def _inside(self, name: bytes) -> int:
        number = self._image.names(self._number).get(name)
        if number is None:
            raise FileNotFoundError
        return number


def user_xattrs(xattrs: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return those of the attributes that are the image's own: neither ours nor the kernel's."""
    return {
        name: value
        for name, value in xattrs.items()
        if name.startswith(b"user.") and not name.startswith(_OVERLAY)
    }


def is_opaque(xattrs: dict[bytes, bytes]) -> bool:
    """Say whether a folder with these attributes hides all of its name in the layers below."""
    return xattrs.get(_OPAQUE) == b"y"


def copy_in_memory(kind: int, size: int, copy: Callable[[int], None]) -> int:
    """Return a descriptor of a copy, in memory, of a file; `copy` appends its content to one.

    Raises:
        OSError: it isn't a file, or too large for that.
    """
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, "not a regular file")
    if size > _MAXIMUM_COPY:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    made = os.memfd_create("hpcbox", os.MFD_CLOEXEC)
    try:
        copy(made)
        os.lseek(made, 0, os.SEEK_SET)
    except BaseException:
        os.close(made)
        raise
    return made


def damaged(reason: str) -> StoreError:
    """Return the error for an image that can't be what hpcbox wrote."""
    return StoreError(
        f"a layer's file system image is damaged: {reason}",
        hint="remove the image with 'hpcbox rm' and pull it again",
    )

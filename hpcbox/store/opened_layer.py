"""The forms of a layer in the store (paths.py lists them), opened for mounting or for reading.

Opening tells the forms apart; nobody writes down which one a layer has. Loaded on every node and
step: standard library only, light modules only.
"""

import os

from hpcbox.store import paths

DIRECTORY, EROFS, SQUASHFS = b"D", b"E", b"S"
"""Kinds of forms, as they travel to root."""

MAXIMUM_DATA = 3
"""Files beside `image.erofs` that hold content: a tar, what isn't in it in one piece, and what a
settled layer has from layers below."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OpenedLayer:
    """An opened layer.

    Attributes:
        kind: DIRECTORY, EROFS or SQUASHFS.
        descriptors: the folder (O_PATH); or `image.erofs`, then `data.1` and so on as far as there
            are any; or `image.squashfs`. They belong to whoever has the form.
    """

    __slots__ = ("descriptors", "kind")

    def __init__(self, kind: bytes, descriptors: list[int]) -> None:
        self.kind = kind
        self.descriptors = descriptors

    @property
    def is_sound(self) -> bool:
        """Whether the kind is known and the number of descriptors is one that it may have."""
        most = MAXIMUM_DATA + 1 if self.kind == EROFS else 1
        return self.kind in (DIRECTORY, EROFS, SQUASHFS) and 1 <= len(self.descriptors) <= most

    def close(self) -> None:
        """Close the descriptors."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def open_in(layer: int) -> OpenedLayer:
    """Return the form of the layer in an open layer folder.

    Raises:
        FileNotFoundError: the folder holds none.
        OSError: it can't be opened.
    """
    try:
        opened = [os.open(paths.EROFS_IMAGE, _FILE, dir_fd=layer)]
    except FileNotFoundError:
        pass
    else:
        return OpenedLayer(EROFS, opened + _data(layer))
    try:
        return OpenedLayer(DIRECTORY, [os.open(paths.FOLDER, _FOLDER, dir_fd=layer)])
    except FileNotFoundError:
        return OpenedLayer(SQUASHFS, [os.open(paths.SQUASHFS_IMAGE, _FILE, dir_fd=layer)])


def _data(layer: int) -> list[int]:
    opened: list[int] = []
    for number in range(1, MAXIMUM_DATA + 1):
        try:
            opened.append(os.open(paths.data(number), _FILE, dir_fd=layer))
        except FileNotFoundError:
            break
    return opened

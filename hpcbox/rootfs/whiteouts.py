"""Whiteouts: how a layer says that something of the layers below is gone.

In the tar they are empty files, `.wh.NAME` and `.wh..wh..opq` (OCI image-spec, layer.md); on disk
they have overlayfs's form for unprivileged mounts, which the layer's owner may write without any
capability (Linux 5.8): a character device 0:0, and the attribute user.overlay.opaque.
"""

import os
import stat

from hpcbox.errors import LayerRejected

_PREFIX = b".wh."
_OPAQUE = b".wh..wh..opq"
_METADATA_PREFIX = b".wh..wh."
OPAQUE_ATTRIBUTE = "user.overlay.opaque"


def hidden_name(name: bytes) -> bytes | None:
    """Return what a whiteout of this name hides, or None when the name is no whiteout's.

    Raises:
        LayerRejected: it would hide its own folder or the one above.
    """
    if not name.startswith(_PREFIX) or name.startswith(_METADATA_PREFIX):
        return None
    hidden = name.removeprefix(_PREFIX)
    if hidden in (b"", b".", b".."):
        raise LayerRejected(os.fsdecode(name), "a whiteout of the folder that holds it")
    return hidden


def is_opaque_mark(name: bytes) -> bool:
    """Say whether an entry of this name hides all of its folder that lies below."""
    return name == _OPAQUE


def is_metadata(name: bytes) -> bool:
    """Say whether the name is one of AUFS's own (as `.wh..wh.plnk`): no part of the image."""
    return name.startswith(_METADATA_PREFIX) and name != _OPAQUE


def make(name: bytes, parent: int) -> None:
    """Make a whiteout in a folder; raises FileExistsError when something is there."""
    os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=parent)


def is_whiteout(status: os.stat_result) -> bool:
    """Say whether a file on disk is a whiteout."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_opaque(folder: int) -> None:
    """Mark an open folder: what lies below it is hidden."""
    os.setxattr(folder, OPAQUE_ATTRIBUTE, b"y")


def is_opaque(folder: int) -> bool:
    """Say whether an open folder is marked."""
    try:
        return os.getxattr(folder, OPAQUE_ATTRIBUTE) == b"y"
    except OSError:
        return False

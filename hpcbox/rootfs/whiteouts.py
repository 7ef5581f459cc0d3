"""Whiteouts: how a layer says that something of the layers below is gone.

In the tar they are empty files, `.wh.NAME` and `.wh..wh..opq` (OCI image-spec, layer.md); on disk
they have overlayfs's form for unprivileged mounts, which the layer's owner may write without any
capability (Linux 5.8): a character device 0:0, and the attribute user.overlay.opaque. Layers that
are laid over each other in a plain folder keep the tar's form until then: any file system has it.
"""

import os
import stat

from hpcbox.errors import LayerRejected

PREFIX = b".wh."
"""How the names of whiteouts in a tar begin; nothing in an image has such a name."""

_OPAQUE = b".wh..wh..opq"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_METADATA_PREFIX = b".wh..wh."
OPAQUE_ATTRIBUTE = "user.overlay.opaque"


def hidden_name(name: bytes) -> bytes | None:
    """Return what a whiteout of this name hides, or None when the name is no whiteout's.

    Raises:
        LayerRejected: it would hide its own folder or the one above.
    """
    if not name.startswith(PREFIX) or name.startswith(_METADATA_PREFIX):
        return None
    hidden = name.removeprefix(PREFIX)
    if hidden in (b"", b".", b".."):
        raise LayerRejected(os.fsdecode(name), "a whiteout of the folder that holds it")
    return hidden


def is_opaque_mark(name: bytes) -> bool:
    """Say whether an entry of this name hides all of its folder that lies below."""
    return name == _OPAQUE


def is_metadata(name: bytes) -> bool:
    """Say whether the name is one of AUFS's own (as `.wh..wh.plnk`): no part of the image."""
    return name.startswith(_METADATA_PREFIX) and name != _OPAQUE


def is_reserved(name: bytes) -> bool:
    """Say whether a name is one that nothing in an image has: it would read as a whiteout."""
    return name.startswith(PREFIX)


def is_below_metadata(folder: bytes) -> bool:
    """Say whether a path leads through one of AUFS's own folders: no part of the image either."""
    return folder.startswith(_METADATA_PREFIX) or b"/" + _METADATA_PREFIX in folder


def make(name: bytes, parent: int) -> None:
    """Make a whiteout in a folder; raises FileExistsError when something is there."""
    os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=parent)


def make_as_in_tar(name: bytes, parent: int) -> None:
    """Make the empty file by which a tar says that a name is gone: any file system can hold it."""
    os.close(os.open(PREFIX + name, _NEW_FILE, 0o600, dir_fd=parent))


def make_opaque_as_in_tar(folder: int) -> None:
    """Make the empty file by which a tar says that what lies below a folder is hidden."""
    os.close(os.open(_OPAQUE, _NEW_FILE, 0o600, dir_fd=folder))


def is_hidden_as_in_tar(name: bytes | None, folder: int) -> bool:
    """Say whether such a file hides a name of an open folder, or with None all of it."""
    mark = _OPAQUE if name is None else PREFIX + name
    return os.access(mark, os.F_OK, dir_fd=folder, follow_symlinks=False)


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

"""What of an entry is kept: the rules that all forms of a layer share.

Owners are not kept: every file belongs to the store's account, or to 0:0, and is mapped to the
job's user when it is mounted. So setuid and setgid bits of files, which would speak of other
owners, and file capabilities are dropped. Of extended attributes only the user's own stay.
"""

from hpcbox.rootfs.beneath import rejected

FILE_BITS = 0o1777
FOLDER_BITS = 0o7777
FIFO_BITS = 0o777
IMPLIED_MODE = 0o755
"""Of a folder that has no entry of its own."""

ATTRIBUTES_TOO_LARGE = "its extended attributes are larger than the file system takes"
"""A reason for refusing an entry."""

_OLDEST_NS, _NEWEST_NS = -(2**31) * 10**9, 2**33 * 10**9
_MAXIMUM_TARGET = 4095
# Linux's own limits (linux/limits.h), and what one file system block of ours can speak of.
_MAXIMUM_ATTRIBUTE_NAME = 255
_MAXIMUM_ATTRIBUTE = 2**16 - 1
_MAXIMUM_ATTRIBUTES = 2**15


def kept_time(mtime_ns: int) -> int:
    """Return a time that every file system can hold."""
    if _OLDEST_NS <= mtime_ns <= _NEWEST_NS:
        return mtime_ns
    return _OLDEST_NS if mtime_ns < 0 else _NEWEST_NS


def check_target(target: bytes, entry: bytes) -> None:
    """Check what a symlink holds.

    Raises:
        LayerRejected: no file system can hold it.
    """
    if not target or len(target) > _MAXIMUM_TARGET or b"\0" in target:
        raise rejected(entry, "a symlink that no file system can hold")


def kept_attributes(attributes: dict[bytes, bytes] | None, entry: bytes) -> dict[bytes, bytes]:
    """Return those of a file's or folder's extended attributes that are kept.

    Raises:
        LayerRejected: no file system can hold them.
    """
    if not attributes:
        return {}
    # overlayfs reads user.overlay.* of layers: those are ours alone. Others than user.* need
    # privileges or speak of owners.
    kept = {
        name: value
        for name, value in attributes.items()
        if name.startswith(b"user.") and not name.startswith(b"user.overlay.")
    }
    size = 0
    for name, value in kept.items():
        if b"\0" in name:
            raise rejected(entry, "the name of an extended attribute holds a NUL byte")
        if name == b"user.":
            raise rejected(entry, "an extended attribute without a name")
        size += len(name) + len(value)
        if len(name) > _MAXIMUM_ATTRIBUTE_NAME or len(value) > _MAXIMUM_ATTRIBUTE:
            size = _MAXIMUM_ATTRIBUTES + 1
    if size > _MAXIMUM_ATTRIBUTES:
        raise rejected(entry, ATTRIBUTES_TOO_LARGE)
    return kept

"""What the file system's errors mean for a store."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from hpcbox.errors import StoreError, StoreFull


@contextmanager
def told(store: str, doing: str) -> Iterator[None]:
    """Turn OSError into the store's own errors; `doing` says what failed, as `pull an image`.

    Raises:
        StoreFull: no space, no inodes or no quota is left.
        StoreError: anything else, with the kernel's reason.
    """
    try:
        yield
    except OSError as error:
        raise translated(store, doing, error) from error


def translated(store: str, doing: str, error: OSError) -> StoreError:
    """Return the error to raise for an OSError that the store's file system gave."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kind = "quota" if error.errno == errno.EDQUOT else "space"
        return StoreFull(
            f"cannot {doing}: no {kind} is left in store {store}",
            hint="free space with 'hpcbox gc --all-unused', or set another place: HPCBOX_STORE",
        )
    if error.errno == errno.EROFS:
        return StoreError(f"cannot {doing}: store {store} is on a read-only file system")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StoreError(
            f"cannot {doing}: no permission in store {store} ({error.strerror})",
            hint="set a place that this account may write: HPCBOX_STORE",
        )
    return StoreError(f"cannot {doing} in store {store}: {error.strerror or error}")

"""Scratch folders: everything in the store is made in one, and appears elsewhere by rename.

Each has a file `alive` whose flock its maker holds: when the maker is gone, killed or not, the
next pull sweeps what it left.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from hpcbox.store import locks, paths, trees

_GONE = ".gone"


@contextmanager
def scratch(store: str) -> Iterator[str]:
    """Make a scratch folder; it is removed at the end, with all that is still in it.

    Raises:
        OSError: it can't be made.
        StoreBusy: something is being removed for too long.
    """
    folder = f"{paths.scratch(store)}/{secrets.token_hex(8)}"
    # Shared: a sweeper would take a folder whose `alive` isn't locked yet for a left one.
    with locks.wait(paths.store_lock(store), shared=True):
        os.mkdir(folder, 0o700)
        alive = locks.wait(f"{folder}/alive")
    try:
        yield folder
    finally:
        trees.remove(folder)
        alive.free()


def discard(store: str, path: str) -> str:
    """Move a folder of the store out of sight, to be removed by the caller; return its new place.

    A rename needs no space, so this works in a store that is full. Should the caller die before it
    has removed the folder, the next sweep does.

    Raises:
        OSError: it can't be moved.
    """
    gone = f"{paths.scratch(store)}/{secrets.token_hex(8)}{_GONE}"
    os.rename(path, gone)
    return gone


def sweep(store: str) -> int:
    """Remove the scratch folders of makers that are gone; return how many.

    Does nothing while somebody adds to the store: a later pull will sweep.
    """
    lock = locks.attempt(paths.store_lock(store))
    if lock is None:
        return 0
    with lock:
        left = list(_left(store))
    # Without the lock: others needn't wait for many thousand unlinks.
    for folder, alive in left:
        # Its lock file last: as long as that is locked, nobody else sweeps here.
        for name in os.listdir(folder) if alive else ():
            if name != "alive":
                trees.remove(f"{folder}/{name}")
        trees.remove(folder)
        if alive:
            alive.free()
    return len(left)


def dead(store: str) -> list[str]:
    """Return the scratch folders that a sweep would remove.

    To be called with the store's lock held exclusively.
    """
    folders = []
    for folder, alive in _left(store):
        folders.append(folder)
        if alive:
            alive.free()
    return folders


def _left(store: str) -> Iterator[tuple[str, locks.Lock | None]]:
    for name in os.listdir(paths.scratch(store)):
        folder = f"{paths.scratch(store)}/{name}"
        if name.endswith(_GONE) or not os.path.exists(f"{folder}/alive"):
            # Put aside to be removed; or its maker died before it was one.
            yield folder, None
            continue
        alive = _attempt(f"{folder}/alive")
        if alive is not None:
            yield folder, alive


def _attempt(path: str) -> locks.Lock | None:
    try:
        return locks.attempt(path)
    except FileNotFoundError:
        # Removed by its maker since it was listed.
        return None

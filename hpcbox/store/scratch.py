"""Scratch folders: everything in the store is made in one, and appears elsewhere by rename.

Each has a file `alive` whose flock its maker holds: when the maker is gone, killed or not, the
next pull sweeps what it left.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from hpcbox.store import locks, paths, trees


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


def sweep(store: str) -> int:
    """Remove the scratch folders of makers that are gone; return how many.

    Does nothing while somebody adds to the store: a later pull will sweep.
    """
    lock = locks.attempt(paths.store_lock(store))
    if lock is None:
        return 0
    swept = 0
    with lock:
        for name in os.listdir(paths.scratch(store)):
            folder = f"{paths.scratch(store)}/{name}"
            alive = _left(folder)
            if alive is None:
                continue
            with alive:
                trees.remove(folder)
                swept += 1
    return swept


def _left(folder: str) -> locks.Lock | None:
    try:
        return locks.attempt(f"{folder}/alive")
    except FileNotFoundError:
        # Removed by its maker since it was listed.
        return None

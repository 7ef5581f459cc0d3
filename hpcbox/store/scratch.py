"""Scratch folders: everything in the store is made in one, and appears elsewhere by rename.

Each has a file `alive` whose flock its maker holds: when the maker is gone, killed or not, the
next pull sweeps what it left.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from hpcbox.store import leases, locks, paths, trees

_GONE = ".gone"
# layers.write_whole's.
_ASIDE = ".new"


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
        try:
            alive = locks.wait(f"{folder}/alive")
        except OSError:
            os.rmdir(folder)
            raise
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


@dataclass(frozen=True, slots=True)
class Left:
    """A folder that nobody works in any more.

    Attributes:
        folder: its path.
        alive: its lock, held so that nobody else removes it; None if it has none.
    """

    folder: str
    alive: locks.Lock | None

    def spare(self) -> None:
        """Leave it where it is."""
        if self.alive:
            self.alive.free()

    def remove(self) -> None:
        """Remove it."""
        # Its lock file last: as long as that is locked, nobody else sweeps here.
        for name in os.listdir(self.folder) if self.alive else ():
            if name != "alive":
                trees.remove(f"{self.folder}/{name}")
        trees.remove(self.folder)
        self.spare()


def sweep(store: str) -> int:
    """Remove what processes that are gone have left: folders, files, leases; return how many.

    Does nothing while somebody adds to the store: a later pull will sweep.
    """
    lock = locks.attempt(paths.store_lock(store))
    if lock is None:
        return 0
    with lock:
        found = left(store)
        files = list(stray_files(store))
        files += [f"{store}/leases/{name}" for name in leases.listed(store)[1]]
        for path in files:
            # A step that begins removes leases that have ended, too.
            with suppress(FileNotFoundError):
                os.unlink(path)
    # Without the lock: others needn't wait for many thousand unlinks.
    for one in found:
        one.remove()
    return len(found) + len(files)


def stray_files(store: str) -> Iterator[str]:
    """Give the files beside records that writers who are gone have left.

    To be called with the store's lock held exclusively: who writes holds it shared.
    """
    for folder in (store, f"{store}/images"):
        names = set(os.listdir(folder))
        for name in sorted(names):
            stem, _, suffix = name.partition(".")
            lonely = suffix in ("manifest", "config") and f"{stem}.json" not in names
            if name.endswith(_ASIDE) or lonely:
                yield f"{folder}/{name}"


def left(store: str) -> list[Left]:
    """Return the folders that makers who are gone have left.

    To be called with the store's lock held exclusively.
    """
    found = []
    for name in sorted(os.listdir(paths.scratch(store))):
        folder = f"{paths.scratch(store)}/{name}"
        if name.endswith(_GONE) or not os.path.exists(f"{folder}/alive"):
            # Put aside to be removed; or its maker died before it was one.
            found.append(Left(folder, None))
            continue
        alive = _attempt(f"{folder}/alive")
        if alive is not None:
            found.append(Left(folder, alive))
    return found


def _attempt(path: str) -> locks.Lock | None:
    try:
        return locks.attempt(path)
    except FileNotFoundError:
        # Removed by its maker since it was listed.
        return None

"""Removing: images on request or by rule, and what nobody refers to any more.

What a lease protects stays: the images and layers of running steps and of pulls under way.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hpcbox.errors import StoreBusy
from hpcbox.store import access, forms, inventory, locks, paths, records, scratch, trees
from hpcbox.store.images import ImageRecord
from hpcbox.store.inventory import Inventory, StoredImage

Choose = Callable[[Inventory], Sequence[StoredImage]]


@dataclass(slots=True)
class Collected:
    """What was removed, or would be.

    Attributes:
        images: those chosen.
        layers: bytes on disk of each layer, by name.
        leftovers: bytes on disk of what killed processes had left, and of damaged records, by path
            below the store.
        leases: names of leases that had ended.
        locks: names of lock files that nobody holds.
    """

    images: tuple[StoredImage, ...] = ()
    layers: Mapping[str, int] = field(default_factory=dict)
    leftovers: dict[str, int] = field(default_factory=dict)
    leases: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()

    @property
    def freed_bytes(self) -> int:
        """What the store takes less of the disk."""
        return sum(self.layers.values()) + sum(self.leftovers.values())


def all_unused(found: Inventory) -> list[StoredImage]:
    """Choose the images that nothing uses now."""
    return found.unused()


def unused_since(moment: float) -> Choose:
    """Choose the unused images that were last used before a moment, in seconds since 1970."""
    return lambda found: [image for image in found.unused() if image.last_used_at < moment]


def to_free(wanted_bytes: int) -> Choose:
    """Choose the unused images that were used longest ago, until so many bytes become free."""

    def choose(found: Inventory) -> list[StoredImage]:
        chosen: list[StoredImage] = []
        for image in found.unused():
            if found.bytes_of(found.freed_by(chosen)) >= wanted_bytes:
                break
            chosen.append(image)
        return chosen

    return choose


def nothing(_found: Inventory) -> list[StoredImage]:
    """Choose no image: leftovers only."""
    return []


def one(record: ImageRecord) -> Choose:
    """Choose one image.

    The choice raises StoreBusy when a step or a pull uses it.
    """

    def choose(found: Inventory) -> list[StoredImage]:
        chosen = [image for image in found.images if image.record.digest == record.digest]
        for lease in found.leases:
            if lease.image == record.digest:
                raise StoreBusy(
                    f"image {record.digest} is in use by {lease.holder()}",
                    hint="remove it when that has ended",
                )
        return chosen

    return choose


def remove(store: str, choose: Choose) -> Collected:
    """Remove the images chosen, and all layers and leases that nothing needs any more.

    Works in a store that has no space left.

    Raises:
        StoreBusy: others use the store for too long, or what `choose` raises.
        OSError: the store can't be written.
    """
    with locks.wait(paths.store_lock(store)):
        collected = _planned(store, choose)
        for image in collected.images:
            digest_hex = image.record.digest.removeprefix("sha256:")
            # The record first: what follows may be cut short, and must then be invisible.
            for suffix in ("json", "manifest", "config"):
                _unlink(paths.image(store, digest_hex, suffix))
            access.forget(store, digest_hex)
        gone = [scratch.discard(store, paths.layer(store, name)) for name in collected.layers]
        for name in collected.leases:
            _unlink(f"{store}/leases/{name}")
        for name in collected.locks:
            _unlink(f"{store}/locks/{name}")
    # Without the lock: others needn't wait for many thousand unlinks.
    for folder in gone:
        trees.remove(folder)
    return collected


def collect(store: str, choose: Choose, *, dry_run: bool = False) -> Collected:
    """Remove as `remove` does, and what killed processes have left; or say what would be removed.

    Raises:
        StoreBusy: others use the store for too long.
        OSError: the store can't be read or written.
    """
    leftovers: dict[str, int] = {}
    with locks.wait(paths.store_lock(store)):
        left = scratch.left(store)
        for one_left in left:
            leftovers[os.path.relpath(one_left.folder, store)] = _bytes(one_left.folder)
        for path in _useless_files(store):
            leftovers[os.path.relpath(path, store)] = _bytes(path)
            if not dry_run:
                _unlink(path)
        if dry_run:
            collected = _planned(store, choose)
    for one_left in left:
        if dry_run:
            one_left.spare()
        else:
            one_left.remove()
    if not dry_run:
        collected = remove(store, choose)
    collected.leftovers = leftovers
    return collected


def _planned(store: str, choose: Choose) -> Collected:
    found = inventory.read(store)
    chosen = tuple(choose(found))
    layers = {name: found.layer_bytes[name] for name in found.freed_by(chosen)}
    return Collected(chosen, layers, {}, found.ended, tuple(_free_locks(store)))


def _useless_files(store: str) -> Iterator[str]:
    for digest_hex in records.damaged(store):
        for suffix in ("json", "manifest", "config"):
            path = paths.image(store, digest_hex, suffix)
            if os.path.exists(path):
                yield path
    yield from scratch.stray_files(store)


def _free_locks(store: str) -> Iterator[str]:
    """Give the lock files of layers that nobody makes now."""
    for name in sorted(os.listdir(f"{store}/locks")):
        if not (paths.is_hex(name.partition(".")[0]) and name.endswith(".lock")):
            continue
        lock = locks.attempt(f"{store}/locks/{name}")
        if lock is not None:
            lock.free()
            yield name


def _bytes(path: str) -> int:
    if not os.path.isdir(path):
        return os.lstat(path).st_size
    return forms.disk_bytes(path)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)

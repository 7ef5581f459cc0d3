"""What is in a store: images with their last use and who holds them, layers with their bytes."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hpcbox.errors import StoreError
from hpcbox.store import layers, leases, paths, records
from hpcbox.store.images import ImageRecord
from hpcbox.store.leases import Lease


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of a store.

    Attributes:
        record: what is known of it.
        last_used_at: when it was last pulled or a container of it began, in seconds since 1970.
        holders: what uses it now, as `job 17.0`.
    """

    record: ImageRecord
    last_used_at: int
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    """A store at one moment.

    Attributes:
        images: all images, by digest.
        layer_bytes: bytes on disk of each layer that is there, by name.
        leases: of steps and pulls that live.
        ended: names of the leases of those that don't.
    """

    images: tuple[StoredImage, ...]
    layer_bytes: Mapping[str, int]
    leases: tuple[Lease, ...]
    ended: tuple[str, ...]

    def bytes_of(self, names: Collection[str]) -> int:
        """Return the bytes of layers, each counted once."""
        return sum(self.layer_bytes.get(name, 0) for name in set(names))

    def freed_by(self, gone: Sequence[StoredImage]) -> list[str]:
        """Return the layers that nothing refers to when these images are gone."""
        digests = {image.record.digest for image in gone}
        kept = {name for lease in self.leases for name in lease.layers}
        for image in self.images:
            if image.record.digest not in digests:
                kept.update(image.record.layers)
        return sorted(set(self.layer_bytes) - kept)

    def unused(self) -> list[StoredImage]:
        """Return the images that nothing uses now, the one that was used longest ago first."""
        free = [image for image in self.images if not image.holders]
        return sorted(free, key=lambda image: (image.last_used_at, image.record.digest))


def read(store: str) -> Inventory:
    """Look through a store.

    Raises:
        StoreError: it, or an image's record, can't be read.
    """
    try:
        living, ended = leases.listed(store)
        images = tuple(_image(store, record, living) for record in records.listed(store))
        names = [name for name in os.listdir(f"{store}/layers") if paths.is_hex(name)]
    except FileNotFoundError:
        return Inventory((), {}, (), ())
    except OSError as error:
        raise StoreError(f"cannot read the store {store}: {error.strerror}") from error
    return Inventory(images, {name: _bytes(store, name) for name in names}, living, ended)


def _image(store: str, record: ImageRecord, living: Sequence[Lease]) -> StoredImage:
    try:
        status = os.stat(paths.image(store, record.digest.removeprefix("sha256:"), "json"))
        last_used_at = int(status.st_mtime)
    except FileNotFoundError:
        # Removed while this looks.
        last_used_at = record.pulled_at
    holders = tuple(lease.holder() for lease in living if lease.image == record.digest)
    return StoredImage(record, last_used_at, holders)


def _bytes(store: str, name: str) -> int:
    try:
        record = layers.read(store, name)
    except StoreError:
        # Damaged: it is to be seen, and to be removed when nothing refers to it.
        return 0
    return record.stored_bytes if record else 0

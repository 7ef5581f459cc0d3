"""Removing: an image on request, and layers that nothing refers to any more."""

import os

from hpcbox.errors import StoreBusy
from hpcbox.store import access, leases, locks, paths, records
from hpcbox.store.images import ImageRecord
from hpcbox.store.scratch import scratch


def remove_image(store: str, record: ImageRecord) -> int:
    """Remove an image, and the layers that it alone used; return how many layers.

    Raises:
        StoreBusy: a step or a pull uses it.
        OSError: the store can't be written.
    """
    digest_hex = record.digest.removeprefix("sha256:")
    with scratch(store) as folder, locks.wait(paths.store_lock(store)):
        held = list(leases.living(store))
        for lease in held:
            if lease.image == record.digest:
                raise StoreBusy(
                    f"image {record.digest} is in use by {_holder(lease.name)}",
                    hint="remove it when that has ended",
                )
        # The record first: what follows may be cut short, and must then be invisible.
        for suffix in ("json", "manifest", "config"):
            _unlink(paths.image(store, digest_hex, suffix))
        access.forget(store, digest_hex)
        return _unreferenced_to(folder, store, held)


def remove_unreferenced(store: str) -> int:
    """Remove the layers that no image and no lease refers to; return how many.

    Raises:
        OSError: the store can't be written.
    """
    with scratch(store) as folder, locks.wait(paths.store_lock(store)):
        return _unreferenced_to(folder, store, list(leases.living(store)))


def _unreferenced_to(folder: str, store: str, held: list[leases.Lease]) -> int:
    # Renamed under the lock, removed after it with the scratch folder: others needn't wait for
    # many thousand unlinks.
    kept = {name for record in records.listed(store) for name in record.layers}
    kept.update(name for lease in held for name in lease.layers)
    removed = 0
    for name in os.listdir(f"{store}/layers"):
        if name not in kept and paths.is_hex(name):
            os.rename(paths.layer(store, name), f"{folder}/{name}")
            _unlink(paths.layer_lock(store, name))
            removed += 1
    return removed


def _holder(lease: str) -> str:
    job, _, rest = lease.partition(".")
    step = rest.partition(".")[0]
    return f"pull {step}" if job == "pull" else f"job {job}.{step}"


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return

"""From a store of format 1 to format 2, in place: records of layers learn form and bytes on disk.

Before anything is written into a store; reading works with both. Records first, the format's number
last: who dies in between leaves a store that is still of format 1 and readable, and the next one
goes on.
"""

import os
from dataclasses import replace

from hpcbox.errors import StoreError
from hpcbox.store import forms, layers, locks, paths


def upgrade(store: str) -> None:
    """Bring a store to the current format; one that is there already costs a look at one file.

    Raises:
        StoreError: it has a format that this hpcbox can't read.
        StoreBusy: others use it for too long.
        OSError: the disk can't take it.
    """
    if paths.read_format(store) == paths.FORMAT:
        return
    with locks.wait(paths.store_lock(store)):
        if paths.read_format(store) == paths.FORMAT:
            return
        for name in os.listdir(f"{store}/layers"):
            if paths.is_hex(name):
                _upgrade_layer(store, name)
        layers.write_whole(f"{store}/format", paths.FORMAT.encode())
        layers.sync_folder(store)


def _upgrade_layer(store: str, name: str) -> None:
    folder = paths.layer(store, name)
    try:
        record = layers.read(store, name)
    except StoreError:
        # A damaged one was no layer before and is none afterwards.
        return
    if record is not None:
        counted = replace(
            record, form=forms.of_folder(folder), stored_bytes=forms.disk_bytes(folder)
        )
        layers.write_record(folder, counted)

"""Image records: writing, listing and finding them. `images.py` has what a node needs to read."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from hpcbox.errors import ImageNotFound, RecordDamaged, RequestError, StoreError, shorten
from hpcbox.image.digest import Digest
from hpcbox.image.local_path import parse_typed
from hpcbox.image.manifest import ImageConfig
from hpcbox.image.source import Resolved
from hpcbox.store import layers, locks, paths
from hpcbox.store.images import VERSION, ImageRecord, read_record

_SHORTEST_PREFIX = 7


def publish(
    store: str, resolved: Resolved, config_body: bytes, config: ImageConfig, names: list[str]
) -> ImageRecord:
    """Make an image visible whose layers are all in the store; return its record.

    An image that is there already keeps what it was known by, and gets the new reference.

    Raises:
        StoreError: a layer has been removed meanwhile.
        OSError: the disk can't take it.
    """
    digest = Digest.of(resolved.body)
    with locks.wait(paths.store_lock(store), shared=True), locks.wait(_records_lock(store)):
        old = known(store, digest.hex)
        record = ImageRecord(
            digest=str(digest),
            layers=names,
            env=list(config.environment),
            workdir=config.workdir,
            entrypoint=list(config.entrypoint),
            cmd=list(config.command),
            user=config.user,
            size_bytes=sum(_layer_size(store, name) for name in names),
            pulled_at=int(time.time()) if old is None else old.pulled_at,
            references=[] if old is None else old.references,
            origins=[] if old is None else old.origins,
        )
        origin = (resolved.registry, resolved.repository)
        if origin not in record.origins:
            record.origins.append(origin)
        layers.write_whole(paths.image(store, digest.hex, "manifest"), resolved.body)
        layers.write_whole(paths.image(store, digest.hex, "config"), config_body)
        _take_reference(store, record, resolved.reference)
        _write(store, record)
    return record


def add_reference(store: str, record: ImageRecord, reference: str) -> None:
    """Note that an image was pulled by one more reference.

    Raises:
        OSError: the disk can't take it.
    """
    if reference in record.references:
        return
    with locks.wait(paths.store_lock(store), shared=True), locks.wait(_records_lock(store)):
        if read_record(store, record.digest) is not None:
            _take_reference(store, record, reference)
            _write(store, record)


def listed(store: str) -> Iterator[ImageRecord]:
    """Yield the records of all images, in the order of their digests.

    One that is damaged is none: no image stands in the way of the others.

    Raises:
        StoreError: a record is of another version, or the store has a format that this hpcbox
            can't read.
    """
    for digest_hex in _digests(store):
        record = known(store, digest_hex)
        if record is not None:
            yield record


def known(store: str, digest: str) -> ImageRecord | None:
    """Return the record of an image; None also for a damaged one, which a pull makes anew.

    Raises:
        StoreError: it is of another version.
    """
    try:
        return read_record(store, digest)
    except RecordDamaged:
        return None


def damaged(store: str) -> Iterator[str]:
    """Yield the digests (hex) of images whose records are damaged.

    Raises:
        StoreError: as `listed` does.
    """
    for digest_hex in _digests(store):
        try:
            read_record(store, digest_hex)
        except RecordDamaged:
            yield digest_hex


def _digests(store: str) -> list[str]:
    try:
        paths.read_format(store)
        names = sorted(os.listdir(f"{store}/images"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot read the store {store}: {error.strerror}") from error
    parts = [name.partition(".") for name in names]
    return [stem for stem, _, suffix in parts if suffix == "json" and paths.is_hex(stem)]


def find(store: str, text: str, default_registry: str, *, pinned: bool = False) -> ImageRecord:
    """Return the image that a user means: by digest, the beginning of one, or a reference.

    With `pinned` a reference also means an image that was pulled by it and a digest, as a node of
    a job does it.

    Raises:
        ImageNotFound: the store has none.
        RequestError: several begin so, or the text is neither.
    """
    prefix = text.removeprefix("sha256:")
    if len(prefix) >= _SHORTEST_PREFIX and set(prefix) <= set("0123456789abcdef"):
        found = [item for item in listed(store) if item.digest.startswith(f"sha256:{prefix}")]
        if len(found) > 1:
            raise RequestError(f"{len(found)} images have a digest that begins with {prefix}")
        if found:
            return found[0]
    if not text.startswith("sha256:"):
        reference = str(parse_typed(text, default_registry))
        found = [item for item in listed(store) if reference in item.references]
        if not found and pinned:
            found = [
                item for item in listed(store) if f"{reference}@{item.digest}" in item.references
            ]
        if len(found) > 1:
            raise RequestError(f"{len(found)} images were pulled as {reference}, give a digest")
        if found:
            return found[0]
    raise ImageNotFound(
        f"the store has no image '{shorten(text, 120)}'", hint="'hpcbox images' lists what it has"
    )


def stored_bytes(store: str, record: ImageRecord) -> int:
    """Return what an image's layers take of the disk, those included that others share.

    Raises:
        StoreError: a layer's record can't be read.
    """
    found = (layers.read(store, name) for name in record.layers)
    return sum(layer.stored_bytes for layer in found if layer is not None)


def as_json(record: ImageRecord) -> dict[str, Any]:
    """Return a record as its file and `--json` show it."""
    table = {name: getattr(record, name) for name in ImageRecord.__slots__}
    table["origins"] = [
        {"registry": registry, "repository": repository} for registry, repository in record.origins
    ]
    return {"version": VERSION, **table}


def _take_reference(store: str, record: ImageRecord, reference: str) -> None:
    # A tag names one image: the one it was last pulled as.
    for other in listed(store):
        if other.digest != record.digest and reference in other.references:
            other.references.remove(reference)
            _write(store, other)
    if reference not in record.references:
        record.references.append(reference)


def _write(store: str, record: ImageRecord) -> None:
    path = paths.image(store, record.digest.removeprefix("sha256:"), "json")
    layers.write_whole(path, json.dumps(as_json(record)).encode())
    layers.sync_folder(f"{store}/images")


def _layer_size(store: str, name: str) -> int:
    record = layers.read(store, name)
    if record is None:
        raise StoreError("a layer was removed while its image was pulled", hint="pull it again")
    return record.size_bytes


def _records_lock(store: str) -> str:
    return f"{store}/locks/images.lock"

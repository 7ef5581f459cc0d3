"""A pull: reference → manifest → config → layers → an image in the store.

One pipeline for both modes: in user mode the source is the registry, in site mode a relay to a
process of the user. Nothing that the source says is believed: manifest, config and layers count by
their digests, access by proof.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from hpcbox.image.digest import Digest
from hpcbox.image.meter import Meter
from hpcbox.image.opened import open_image
from hpcbox.image.progress import Report
from hpcbox.image.source import ImageSource, Resolved
from hpcbox.settings import Settings
from hpcbox.store import access, failures, flight, layers, paths, records, scratch, space, upgrade
from hpcbox.store.following import Patience
from hpcbox.store.images import ImageRecord, lease_layers, note_use
from hpcbox.store.parallel import Cancellation, run_all
from hpcbox.store.sink import Budget, LayerSink


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a pull may take.

    Attributes:
        maximum_bytes: uncompressed bytes of the image.
        maximum_entries: files, folders and links of the image.
        threads: layers at the same time.
        patience: with another pull that fetches the same layer.
        marks: how full the store may become.
    """

    maximum_bytes: int
    maximum_entries: int
    threads: int
    patience: Patience = field(default_factory=lambda: Patience(100_000, 20.0))
    marks: space.Marks = field(default_factory=space.Marks)

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits that the settings say."""
        return cls(
            settings.max_image_bytes,
            settings.max_entries,
            settings.pull_threads,
            Patience(settings.flight_floor_bytes, settings.flight_window_seconds),
            space.Marks(
                settings.store_max_bytes, settings.store_high_percent, settings.store_low_percent
            ),
        )


def pull(
    source: ImageSource,
    store: str,
    sink: LayerSink,
    limits: Limits,
    report: Report,
    *,
    grant_to: int | None = None,
) -> ImageRecord:
    """Bring an image into the store; return its record.

    `grant_to` is the uid of the user whose source this is, in a store that several users share:
    then each layer that is there already must be proven to be theirs to read. In a user's own
    store an image that is there needs no blob at all.

    Raises:
        ImageError, LayerRejected: the image can't be had or is not what its digests promise.
        StoreError: the store can't take it.
    """
    with failures.told(store, "pull an image"):
        paths.prepare(store)
        upgrade.upgrade(store)
        with Meter(report) as meter:
            return _pull(source, store, sink, limits, meter, grant_to=grant_to)


def _pull(
    source: ImageSource,
    store: str,
    sink: LayerSink,
    limits: Limits,
    meter: Meter,
    *,
    grant_to: int | None,
) -> ImageRecord:
    scratch.sweep(store)
    resolved = source.resolve()
    meter.phase("pulling", resolved.reference)
    digest = Digest.of(resolved.body)
    record = records.known(store, digest.hex)
    if record is not None and grant_to is None:
        records.add_reference(store, record, resolved.reference)
    else:
        pulling = flight.Pulling(
            store=store,
            source=source,
            sink=sink,
            budget=Budget(limits.maximum_bytes, limits.maximum_entries),
            meter=meter,
            cancellation=Cancellation(),
            registry=resolved.registry,
            repository=resolved.repository,
            prove=grant_to is not None,
            patience=limits.patience,
        )
        record = _fetch(pulling, resolved, limits)
    if grant_to is not None:
        access.grant(store, grant_to, digest.hex)
    note_use(store, record)
    meter.stored(records.stored_bytes(store, record))
    meter.phase("ready")
    return record


def _fetch(pulling: flight.Pulling, resolved: Resolved, limits: Limits) -> ImageRecord:
    store, meter = pulling.store, pulling.meter
    image = open_image(pulling.source, resolved)
    meter.expect(len(image.layers))
    missing = [pair for pair in image.layers if layers.read(store, pair[0].hex) is None]
    for diff_id, descriptor in missing:
        pulling.expected.add(diff_id.hex)
        meter.expect_bytes(descriptor.size_bytes)
    leased = [diff_id.hex for diff_id, _ in image.layers]
    with _lease(store, str(image.digest), leased) as lease:
        coming = [descriptor for _, descriptor in missing]
        space.make_room(store, coming, limits.marks, lambda: meter.at("clearing"))
        jobs = [partial(flight.ensure, pulling, item, diff_id) for diff_id, item in image.layers]
        run_all(jobs, max(limits.threads, 1), pulling.cancellation)
        names: list[str] = []
        for diff_id, _ in image.layers:
            names.append(flight.settle(pulling, diff_id, names, lease.protect))
        return records.publish(store, resolved, image.config_body, image.config, names)


class _Lease:
    """The lease of a pull: no collector takes the layers that it has made or found."""

    def __init__(self, store: str, image: str, names: list[str]) -> None:
        self._store = store
        self._image = image
        self._names = names
        self._name = f"pull.{os.getpid()}.{secrets.token_hex(4)}"
        self.path = self._write()

    def protect(self, name: str) -> None:
        if name not in self._names:
            self._names.append(name)
            self._write()

    def _write(self) -> str:
        return lease_layers(self._store, self._name, os.getpid(), self._names, self._image)


@contextmanager
def _lease(store: str, image: str, names: list[str]) -> Iterator[_Lease]:
    lease = _Lease(store, image, names)
    try:
        yield lease
    finally:
        with suppress(FileNotFoundError):
            os.unlink(lease.path)

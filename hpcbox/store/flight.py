"""One layer on its way into the store: fetched once, however many processes want it.

    socket → sha256 (blob) → decompress → sha256 (diff_id) → sink → disk → rename

One process fetches, the others follow its flight (following.py). A fetcher that dies frees its lock
with its last breath, and the next one begins anew.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from hpcbox import kernel
from hpcbox.errors import ImageError
from hpcbox.image.compression import decompressed
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor
from hpcbox.image.meter import Meter
from hpcbox.image.opened import layer_tar
from hpcbox.image.source import ImageSource, Origin
from hpcbox.image.verified import VerifiedStream, fetched
from hpcbox.store import following, layers, locks, paths
from hpcbox.store.following import Flight, Overtaken, Patience
from hpcbox.store.parallel import Cancellation
from hpcbox.store.proof import Sampler
from hpcbox.store.scratch import scratch
from hpcbox.store.sink import Budget, LayerSink, Needs

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Pulling:
    """What the layers of one pull share.

    Attributes:
        prove: whether a layer that is there already must be proven to be this user's to read.
        patience: with the flights of others.
        expected: names of the layers whose bytes the meter expects.
    """

    store: str
    source: ImageSource
    sink: LayerSink
    budget: Budget
    meter: Meter
    cancellation: Cancellation
    registry: str
    repository: str
    prove: bool
    patience: Patience
    expected: set[str] = field(default_factory=set)


def ensure(pulling: Pulling, descriptor: Descriptor, diff_id: Digest) -> None:
    """Bring a layer into the store, or find it there.

    Raises:
        ImageError: it can't be fetched, or is not what the image's manifest and config promise.
        LayerRejected: an entry may not be unpacked.
        OSError: the disk can't take it.
    """
    record = layers.read(pulling.store, diff_id.hex)
    if record is None:
        record = _fly(pulling, descriptor, diff_id)
    if record is not None and pulling.prove:
        _prove(pulling, descriptor, record)
    pulling.meter.layer_done()


def _fly(pulling: Pulling, descriptor: Descriptor, diff_id: Digest) -> layers.LayerRecord | None:
    """Fetch a layer: None; or return the record of one that another flight has brought."""
    size, received = descriptor.size_bytes, 0
    with following.flight(
        pulling.store,
        diff_id.hex,
        size,
        patience=pulling.patience,
        meter=pulling.meter,
        cancellation=pulling.cancellation,
    ) as flight:
        if flight is not None:
            try:
                _fetch(pulling, descriptor, diff_id, flight)
            except (Overtaken, ImageError) as error:
                # What went wrong here is nobody's business when another flight went well.
                if not isinstance(error, Overtaken) and not os.path.exists(flight.folder):
                    raise
            else:
                return None
            received = min(flight.received, size)
    if diff_id.hex in pulling.expected:
        pulling.meter.expect_bytes(received - size)
    return layers.read(pulling.store, diff_id.hex)


@contextmanager
def locked(pulling: Pulling, name: str) -> Iterator[None]:
    """Hold the lock of the one who makes a layer, waiting for it as long as it takes."""
    path = paths.layer_lock(pulling.store, name)
    lock = locks.attempt(path)
    if lock is None:
        with pulling.meter.waiting():
            while lock is None:
                pulling.cancellation.pause(_POLL_SECONDS)
                lock = locks.attempt(path)
    with lock:
        yield


def _fetch(pulling: Pulling, descriptor: Descriptor, diff_id: Digest, flight: Flight) -> None:
    def attempt() -> None:
        # What came in vain, if this is not the first attempt.
        pulling.meter.expect_bytes(flight.received)
        flight.received = 0
        with pulling.budget.attempt() as budget:
            _fetch_once(pulling, descriptor, diff_id, flight, budget)

    fetched(descriptor.digest, attempt)


def _fetch_once(
    pulling: Pulling, descriptor: Descriptor, diff_id: Digest, flight: Flight, budget: Budget
) -> None:
    sampler = Sampler(descriptor.size_bytes)
    size_bytes = 0

    def count(piece: bytes) -> None:
        nonlocal size_bytes
        size_bytes += len(piece)
        budget.spend_bytes(len(piece))

    with scratch(pulling.store) as folder:
        made = f"{folder}/layer"
        os.mkdir(made, 0o700)
        with (
            pulling.meter.at("pulling"),
            _opened_blob(pulling, descriptor, sampler, flight.note) as blob,
            layer_tar(blob, diff_id, count) as tar,
        ):
            unpacked = pulling.sink.unpack(tar, made, budget)
        with pulling.meter.at("syncing"):
            sync(made)
            record = layers.LayerRecord(
                diff_id, size_bytes, unpacked.entries, (), {}, unpacked.needs
            )
            record = record.with_origin(_origin(pulling, descriptor), sampler.samples())
            pulling.cancellation.check()
            if not layers.publish(pulling.store, diff_id.hex, made, record):
                _add_origin(pulling, descriptor, diff_id, sampler)


def _prove(pulling: Pulling, descriptor: Descriptor, record: layers.LayerRecord) -> None:
    known = record.samples.get(descriptor.digest.hex)
    windows = known.questions() if known else []
    with pulling.meter.at("checking"):
        if (
            known
            and windows
            and known.agree(windows, pulling.source.read_windows(descriptor, windows))
        ):
            return
    # Nothing that could be asked for, or a wrong answer: then the whole blob has to come.
    sampler = Sampler(descriptor.size_bytes)
    pulling.meter.expect_bytes(descriptor.size_bytes)
    with pulling.meter.at("pulling"), _opened_blob(pulling, descriptor, sampler) as blob:
        tar = VerifiedStream(decompressed(blob), record.diff_id, None, "layer")
        tar.drain()
        blob.drain()
    _add_origin(pulling, descriptor, record.diff_id, sampler)


def _add_origin(
    pulling: Pulling, descriptor: Descriptor, diff_id: Digest, sampler: Sampler
) -> None:
    # Read again: others may have added theirs meanwhile. Two at the same moment lose one, whose
    # next reader has to bring the blob once more.
    record = layers.read(pulling.store, diff_id.hex)
    if record is not None:
        record = record.with_origin(_origin(pulling, descriptor), sampler.samples())
        layers.write_record(paths.layer(pulling.store, diff_id.hex), record)


@contextmanager
def _opened_blob(
    pulling: Pulling,
    descriptor: Descriptor,
    sampler: Sampler,
    note: Callable[[int], None] = lambda _count: None,
) -> Iterator[VerifiedStream]:
    def passing(piece: bytes) -> None:
        pulling.cancellation.check()
        pulling.meter.received(piece)
        note(len(piece))
        sampler.feed(piece)

    source = pulling.source.open_blob(descriptor)
    blob = VerifiedStream(source, descriptor.digest, descriptor.size_bytes, "blob", passing)
    with closing(blob), pulling.cancellation.aborting(blob):
        yield blob


def _origin(pulling: Pulling, descriptor: Descriptor) -> Origin:
    return Origin(pulling.registry, pulling.repository, descriptor.digest)


def sync(folder: str) -> None:
    """Wait until all that was written below a folder is on disk.

    One syncfs(2), not one fsync(2) for each of many thousand files.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel.syncfs(descriptor)
    finally:
        os.close(descriptor)


def settled_name(diff_id: Digest, below: list[str]) -> str:
    """Return the name of the form that a layer has on exactly these layers."""
    text = "\n".join(["hpcbox settled layer 1", diff_id.hex, *below])
    return Digest.of(text.encode()).hex


def settle(
    pulling: Pulling, diff_id: Digest, below: list[str], protect: Callable[[str], None]
) -> str:
    """Return the name of the form of a layer that belongs on the layers `below`; make it if needed.

    `protect` is told the name of a form before it is looked for or made.

    Raises:
        LayerRejected: the layer can't lie on them.
        OSError: the disk can't take it.
    """
    record = layers.read(pulling.store, diff_id.hex)
    if record is None or record.needs == Needs():
        return diff_id.hex
    with _opened(pulling.store, [*below, diff_id.hex]) as folders:
        if pulling.sink.fits(record.needs, folders[:-1]):
            return diff_id.hex
        name = settled_name(diff_id, below)
        protect(name)
        with locked(pulling, name):
            if layers.read(pulling.store, name) is None:
                _settle(pulling, name, record, folders)
    return name


def _settle(pulling: Pulling, name: str, record: layers.LayerRecord, folders: list[int]) -> None:
    with pulling.meter.at("settling"), scratch(pulling.store) as folder:
        made = f"{folder}/layer"
        os.mkdir(made, 0o700)
        pulling.sink.settle(record.needs, folders[-1], folders[:-1], made)
        sync(made)
        layers.publish(pulling.store, name, made, record)


@contextmanager
def _opened(store: str, names: list[str]) -> Iterator[list[int]]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    opened: list[int] = []
    try:
        for name in names:
            opened.append(os.open(paths.layer(store, name), flags))  # noqa: PERF401 - kept for the clean-up below
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)

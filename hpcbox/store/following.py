"""Flights: who fetches a layer, who waits for it, and who has waited long enough.

Whoever holds a layer's lock fetches it and writes into the lock's file how far it is. The others
follow: they wait until the layer is there, or until the lock is free because its holder died. A
follower whose flight is slower than a floor over some time begins one of its own beside it (the
holder may have a bad connection, or be suspended with its job). Who is done first publishes; the
others then drop what they have.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hpcbox.image.meter import Meter
from hpcbox.store import locks, paths
from hpcbox.store.parallel import Cancellation

_POLL_SECONDS = 0.05
_NOTE_SECONDS = 0.5
_MOST_FLIGHTS = 3
# When all bytes have come, the disk may take long: fetching them again would not help it.
_DISK_PATIENCE = 10


class Overtaken(Exception):
    """Another flight has published the layer that this one was fetching."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When a follower gives up on the flight that it follows.

    Attributes:
        floor_bytes: bytes a second that a flight must bring; 0: followers wait for ever.
        window_seconds: over which that is measured.
    """

    floor_bytes: int
    window_seconds: float


class Pace:
    """Measures a flight by what its holder has noted."""

    def __init__(self, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._since = clock()
        self._before = 0

    def is_slow(self, done: int, total: int) -> bool:
        """Say whether the window that ends now brought too little; it is `done` of `total` now."""
        passed = self._clock() - self._since
        if done < self._before:
            # Another holder has begun.
            self._since, self._before = self._clock(), done
            return False
        patience = _DISK_PATIENCE if total and done >= total else 1
        if not self._patience.floor_bytes or passed < self._patience.window_seconds * patience:
            return False
        brought = done - self._before
        self._since, self._before = self._clock(), done
        return brought < self._patience.floor_bytes * passed


@dataclass(slots=True)
class Flight:
    """The flight of the one who holds the lock.

    Attributes:
        folder: where the layer appears when some flight is done.
        lock: of this flight.
        total: bytes of the blob.
        received: those that have come.
    """

    folder: str
    lock: locks.Lock
    total: int
    received: int = 0
    _noted_at: float = field(default_factory=time.monotonic)

    def note(self, count: int) -> None:
        """Count bytes that came, and tell the followers now and then.

        Raises:
            Overtaken: the layer is there.
        """
        self.received += count
        if time.monotonic() - self._noted_at < _NOTE_SECONDS and self.received < self.total:
            return
        if os.path.exists(self.folder):
            raise Overtaken
        self.tell()

    def tell(self) -> None:
        """Write down how far the flight is."""
        self._noted_at = time.monotonic()
        # One width always: a reader finds either numbers whole.
        self.lock.write(b"%020d %020d\n" % (self.received, self.total))


def noted(path: str) -> tuple[int, int]:
    """Return the bytes done and in total of the flight with this lock; zeros when unknown."""
    try:
        with open(path, "rb") as file:
            done, total = file.read(64).split()
        return int(done), int(total)
    except (OSError, ValueError):
        return 0, 0


@contextmanager
def flight(
    store: str,
    name: str,
    total: int,
    *,
    patience: Patience,
    meter: Meter,
    cancellation: Cancellation,
) -> Iterator[Flight | None]:
    """Be the one who fetches a layer of `total` bytes; None when another has brought it.

    Raises:
        OSError: the store can't be written.
    """
    folder = paths.layer(store, name)
    lock = locks.attempt(paths.layer_lock(store, name))
    if lock is None:
        lock = _follow(store, name, patience, meter, cancellation)
    if lock is None:
        yield None
        return
    with lock:
        # It may have appeared between the last look and the lock.
        if os.path.exists(folder):
            yield None
            return
        own = Flight(folder, lock, total)
        own.tell()
        yield own


def _follow(
    store: str, name: str, patience: Patience, meter: Meter, cancellation: Cancellation
) -> locks.Lock | None:
    """Wait until the layer is there (None), or for the lock of a flight to make."""
    number, pace, asked_at = 1, Pace(patience), 0.0
    with meter.waiting() as tell:
        while not os.path.exists(paths.layer(store, name)):
            path = paths.layer_lock(store, name, number)
            lock = locks.attempt(path)
            if lock is not None:
                return lock
            if time.monotonic() - asked_at >= _NOTE_SECONDS:
                asked_at = time.monotonic()
                done, total = noted(path)
                tell(done, total)
                if pace.is_slow(done, total) and number < _MOST_FLIGHTS:
                    number, pace = number + 1, Pace(patience)
                    continue
            cancellation.pause(_POLL_SECONDS)
    return None

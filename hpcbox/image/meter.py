"""Measures a pull while several threads work at it, and reports at least once a second."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Self

from hpcbox.image.progress import Progress, Report

_RATE_SECONDS = 5.0
_BEAT_SECONDS = 1.0
# What the layers of a pull are at: the first of these that some layer is at names the phase.
_STAGES = ("clearing", "pulling", "waiting", "checking", "unpacking", "syncing", "settling")

Tell = Callable[[int, int], None]


class Meter:
    """Collects from several threads and reports a changed phase at once, bytes now and then.

    As a context manager it also reports when nothing happens, so that a line that is shown goes on
    changing; `report` is called from several threads, but never twice at once.
    """

    def __init__(
        self,
        report: Report,
        *,
        interval_seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._began = self._reported = self._moved = clock()
        self._lock = threading.Lock()
        self._now = Progress("resolving", "")
        self._base = "resolving"
        self._stages = dict.fromkeys(_STAGES, 0)
        self._others: dict[int, tuple[int, int]] = {}
        self._past: deque[tuple[float, int]] = deque([(self._began, 0)])
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self.phase("resolving")
        self._beating.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._ended.set()

    def phase(self, phase: str, image: str = "") -> None:
        """Enter a phase; without `image` it stays the same."""
        with self._lock:
            self._now = replace(self._now, image=image or self._now.image)
            self._base = phase
            self._enter(phase)

    def expect(self, layers: int) -> None:
        """State how many layers the image has."""
        with self._lock:
            self._now = replace(self._now, layers=layers)

    def expect_bytes(self, count: int) -> None:
        """Announce bytes that will come; a negative count: that they won't after all."""
        with self._lock:
            self._now = replace(self._now, bytes_total=self._now.bytes_total + count)

    def received(self, piece: bytes) -> None:
        """Count bytes that came."""
        with self._lock:
            self._moved = self._clock()
            self._now = replace(self._now, bytes_done=self._now.bytes_done + len(piece))
            phase = self._staged()
            if phase != self._now.phase:
                self._enter(phase)
            elif self._moved - self._reported >= self._interval_seconds:
                self._tell()

    def layer_done(self) -> None:
        """Count a layer that is in the store."""
        with self._lock:
            self._now = replace(self._now, layers_done=self._now.layers_done + 1)

    def stored(self, count: int) -> None:
        """State what the image takes of the disk."""
        with self._lock:
            self._now = replace(self._now, stored_bytes=count)

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """Within this context one layer is at this stage."""
        self._step(stage, 1)
        try:
            yield
        finally:
            self._step(stage, -1)

    @contextmanager
    def waiting(self) -> Iterator[Tell]:
        """One layer waits for another pull; gives what to tell that pull's bytes done and total."""
        key = threading.get_ident()

        def tell(done: int, total: int) -> None:
            with self._lock:
                self._others[key] = (done, total)
                if self._clock() - self._reported >= self._interval_seconds:
                    self._tell()

        with self.at("waiting"):
            try:
                yield tell
            finally:
                self._others.pop(key, None)

    def _step(self, stage: str, count: int) -> None:
        with self._lock:
            self._stages[stage] += count
            phase = self._staged()
            if phase != self._now.phase:
                self._enter(phase)

    def _staged(self) -> str:
        """Return the phase that the layers are in together; the last one when they are at none."""
        missing = self._now.bytes_done < self._now.bytes_total
        for stage in _STAGES:
            if self._stages[stage] and (stage != "pulling" or missing):
                return stage
        if self._stages["pulling"]:
            return "unpacking"
        return self._now.phase if self._base == "pulling" else self._base

    def _enter(self, phase: str) -> None:
        self._moved = self._clock()
        self._now = replace(self._now, phase=phase)
        self._tell()

    def _tell(self) -> None:
        now = self._reported = self._clock()
        done = self._now.bytes_done
        self._past.append((now, done))
        while self._past[0][0] < now - _RATE_SECONDS and len(self._past) > 2:
            self._past.popleft()
        since, before = self._past[0]
        others = list(self._others.values())
        self._now = replace(
            self._now,
            seconds=now - self._began,
            rate_bytes=max(done - before, 0) / max(now - since, 0.001),
            idle_seconds=now - self._moved,
            others_done=sum(one for one, _ in others),
            others_total=sum(total for _, total in others),
        )
        self._report(self._now)

    def _beat(self) -> None:
        while not self._ended.wait(max(self._reported + _BEAT_SECONDS - self._clock(), 0.05)):
            # Nobody listens any more: the pull itself finds out when it has something to say.
            with self._lock, suppress(OSError):
                due = self._clock() - self._reported >= _BEAT_SECONDS
                if due and not self._ended.is_set():
                    self._tell()

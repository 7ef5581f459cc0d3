"""How far a pull is: values that the store's pipeline produces and that people are shown."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

_UNITS = ("B", "KB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Progress:
    """A pull at one moment.

    Attributes:
        phase: `resolving`, `waiting` (another pull fetches it), `pulling` or `ready`.
        image: what is pulled, as text.
        layers_done: layers that are in the store.
        layers: all layers of the image.
        bytes_done: bytes that came from the source.
        bytes_total: bytes that are to come, those that came included.
        seconds: since the pull began.
    """

    phase: str
    image: str
    layers_done: int = 0
    layers: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        """Return one line for people."""
        if self.phase == "pulling":
            if not self.bytes_total:
                return f"pulling {self.image}"
            share = f"{size_text(self.bytes_done)} of {size_text(self.bytes_total)}"
            return (
                f"pulling {self.image}: {share}, {self.layers_done} of {self.layers} layers, "
                f"{self.rate()}"
            )
        if self.phase == "waiting":
            return f"waiting for {self.image}: another pull fetches it"
        if self.phase == "ready":
            amount = f"{size_text(self.bytes_done)} in {self.seconds:.1f} s, {self.rate()}"
            return f"ready {self.image}" + (f": {amount}" if self.bytes_done else "")
        return f"{self.phase} {self.image}".rstrip()

    def rate(self) -> str:
        """Return the mean rate since the beginning, as `12 MB/s`."""
        return f"{size_text(self.bytes_done / max(self.seconds, 0.001))}/s"


Report = Callable[[Progress], None]


class Meter:
    """Collects from several threads and reports a changed phase at once, bytes now and then."""

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
        self._began = clock()
        self._reported = self._began
        self._lock = threading.Lock()
        self._now = Progress("resolving", "")

    def phase(self, phase: str, image: str = "") -> None:
        """Enter a phase; without `image` it stays the same."""
        with self._lock:
            self._now = replace(self._now, phase=phase, image=image or self._now.image)
            self._tell()

    def expect(self, layers: int) -> None:
        """State how many layers the image has."""
        with self._lock:
            self._now = replace(self._now, layers=layers)

    def expect_bytes(self, count: int) -> None:
        """Announce bytes that will come."""
        with self._lock:
            self._now = replace(self._now, bytes_total=self._now.bytes_total + count)

    def received(self, piece: bytes) -> None:
        """Count bytes that came."""
        with self._lock:
            done = self._now.bytes_done + len(piece)
            self._now = replace(self._now, phase="pulling", bytes_done=done)
            if self._clock() - self._reported >= self._interval_seconds:
                self._tell()

    def layer_done(self) -> None:
        """Count a layer that is in the store."""
        with self._lock:
            self._now = replace(self._now, layers_done=self._now.layers_done + 1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Be in phase `waiting`, until another thread receives something."""
        self.phase("waiting")
        try:
            yield
        finally:
            self.phase("pulling")

    def _tell(self) -> None:
        self._reported = self._clock()
        self._now = replace(self._now, seconds=self._reported - self._began)
        self._report(self._now)


class PhaseLines:
    """Reports for readers who can't be shown a changing line: one line a phase.

    A long phase gets another line now and then, so that it never looks hung.
    """

    def __init__(self, write: Callable[[str], None], *, interval_seconds: float = 10.0) -> None:
        self._write = write
        self._interval_seconds = interval_seconds
        self._phase = ""
        self._written_at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Write the line of this progress if it is time for one."""
        due = progress.seconds - self._written_at >= self._interval_seconds
        if progress.phase != self._phase or due:
            self._phase, self._written_at = progress.phase, progress.seconds
            self._write(progress.line())


def size_text(count: float) -> str:
    """Return a number of bytes for people, in powers of 1000: `1.4 GB`."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if count >= 99.5 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit returns")

"""Several threads at one list of jobs, ended together when one fails or the process is to end."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hpcbox.image.source import ByteStream

_END_SECONDS = 3.0


class Cancelled(BaseException):
    """The pull this thread works for has failed elsewhere; carries no message of its own."""


class Cancellation:
    """Tells the threads of one pull to stop; asked between pieces and while waiting."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._streams: list[ByteStream] = []

    def cancel(self) -> None:
        """Stop all threads at their next question, and end the reads that they wait in."""
        self._event.set()
        for stream in list(self._streams):
            stream.abort()

    @contextmanager
    def aborting(self, stream: ByteStream) -> Iterator[None]:
        """Within this context the stream's reads end when the pull is cancelled."""
        self._streams.append(stream)
        try:
            self.check()
            yield
        finally:
            self._streams.remove(stream)

    def check(self) -> None:
        """Raise Cancelled once `cancel` was called."""
        if self._event.is_set():
            raise Cancelled

    def pause(self, seconds: float) -> None:
        """Wait so long, or raise Cancelled."""
        if self._event.wait(seconds):
            raise Cancelled


def run_all(jobs: Sequence[Callable[[], None]], threads: int, cancellation: Cancellation) -> None:
    """Run all jobs, at most so many at once, begun in their order; raise the first failure.

    When one fails, or a signal raises here, the others are cancelled and waited for; whoever does
    not end within some seconds is left behind: the threads are daemons.
    """
    crew = _Crew(jobs, threads, cancellation)
    try:
        crew.wait()
    finally:
        crew.end()
    if crew.failures:
        raise crew.failures[0]


class _Crew:
    def __init__(
        self, jobs: Sequence[Callable[[], None]], threads: int, cancellation: Cancellation
    ) -> None:
        self.failures: list[BaseException] = []
        self._waiting = deque(jobs)
        self._cancellation = cancellation
        self._running = min(threads, len(jobs))
        # Not Thread.join: when a signal's exception comes out of it, Python 3.11 takes the thread
        # for ended.
        self._ended = threading.Semaphore(0)
        for number in range(self._running):
            threading.Thread(target=self._work, name=f"layer-{number}", daemon=True).start()

    def wait(self) -> None:
        while self._running and not self.failures:
            # With a limit, so that a failure is seen and a signal's exception comes through.
            if self._ended.acquire(timeout=0.2):
                self._running -= 1

    def end(self) -> None:
        if not self._running:
            return
        self._cancellation.cancel()
        deadline = time.monotonic() + _END_SECONDS
        while self._running and self._ended.acquire(timeout=max(deadline - time.monotonic(), 0)):
            self._running -= 1

    def _work(self) -> None:
        try:
            self._run_jobs()
        finally:
            self._ended.release()

    def _run_jobs(self) -> None:
        try:
            while (job := self._next()) is not None:
                job()
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self.failures.append(error)
            self._cancellation.cancel()

    def _next(self) -> Callable[[], None] | None:
        self._cancellation.check()
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

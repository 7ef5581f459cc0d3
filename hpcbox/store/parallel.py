"""Several threads at one list of jobs, ended together when one fails or the process is to end."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

_END_SECONDS = 3.0


class Cancelled(BaseException):
    """The pull this thread works for has failed elsewhere; carries no message of its own."""


class Cancellation:
    """Tells the threads of one pull to stop; asked between pieces and while waiting."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Stop all threads at their next question."""
        self._event.set()

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

    When one fails, or a signal raises here, the others are cancelled and waited for. One that is
    stuck in a read that nothing ends is left behind after some seconds: the threads are daemons.
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
        self._threads = [
            threading.Thread(target=self._work, name=f"layer-{number}", daemon=True)
            for number in range(min(threads, len(jobs)))
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        for thread in self._threads:
            # With a limit, so that a signal's exception comes through between two waits.
            while thread.is_alive() and not self.failures:
                thread.join(0.5)

    def end(self) -> None:
        if not any(thread.is_alive() for thread in self._threads):
            return
        self._cancellation.cancel()
        deadline = time.monotonic() + _END_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def _work(self) -> None:
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

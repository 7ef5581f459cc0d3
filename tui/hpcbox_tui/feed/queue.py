"""Asks for the queue, as often as costs at most a twentieth of a core and of the controller."""

import resource
import time
from collections.abc import Callable

from hpcbox.errors import HpcboxError
from hpcbox.views import Queue, SlurmClient, Wanted
from hpcbox_tui.feed.snapshot import Snapshot
from hpcbox_tui.feed.watcher import Post, Watcher
from hpcbox_tui.messages import QueueChanged

# Nothing in a queue matters within less than this.
_SHORTEST_SECONDS = 2.0
# The share of a core that asking and parsing may take, and of the time that Slurm is busy with it.
_CPU_SHARE = 0.05
_QUERY_SHARE = 0.25
_LONGEST_SECONDS = 60.0
_RETRY_SECONDS = 5.0


def next_seconds(cpu_seconds: float, query_seconds: float, *, is_idle: bool = False) -> float:
    """Return the time until the next query, given what the last one cost."""
    shortest = 5 * _SHORTEST_SECONDS if is_idle else _SHORTEST_SECONDS
    wanted = max(shortest, cpu_seconds / _CPU_SHARE, query_seconds / _QUERY_SHARE)
    return min(wanted, _LONGEST_SECONDS)


class QueueWatcher(Watcher):
    """Tells a screen what is in the queue, or why that isn't known."""

    def __init__(
        self,
        client: SlurmClient,
        post: Post,
        wanted: Wanted,
        *,
        snapshot: Snapshot | None = None,
        cpu_clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__("hpcbox-queue", post)
        self._client = client
        self._wanted = wanted
        self._snapshot = snapshot
        self._cpu_clock = cpu_clock or _cpu_seconds
        self._last: Queue | None = None
        self._first = True
        self.is_paused = False
        self.is_idle = False

    def want(self, wanted: Wanted) -> None:
        """Ask for other jobs from now on."""
        self._wanted = wanted
        self.wake()

    def look(self) -> float:
        """Ask once."""
        if self._first:
            self._first = False
            self._show_earlier()
        if self.is_paused:
            return 3600.0
        before = self._cpu_clock()
        try:
            queue = self._client.queue(self._wanted)
        except HpcboxError as error:
            self.tell(QueueChanged(self._last, str(error)))
            return _RETRY_SECONDS
        self._last = queue
        self.tell(QueueChanged(queue))
        if self._snapshot is not None:
            self._snapshot.keep(queue)
        cost = self._cpu_clock() - before
        return next_seconds(cost, queue.query_seconds, is_idle=self.is_idle)

    def _show_earlier(self) -> None:
        queue = None if self._snapshot is None else self._snapshot.load(self._wanted)
        if queue is not None:
            self.tell(QueueChanged(queue, asking=True))


def _cpu_seconds() -> float:
    """Return what this thread and all ended child processes have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time() + children.ru_utime + children.ru_stime

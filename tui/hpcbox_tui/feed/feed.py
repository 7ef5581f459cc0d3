"""The only door through which screens get data and change something: starts what looks."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hpcbox.errors import HpcboxError
from hpcbox.views import SlurmClient, Wanted
from hpcbox_tui.feed.queue import QueueWatcher
from hpcbox_tui.feed.snapshot import Snapshot
from hpcbox_tui.feed.watcher import Post
from hpcbox_tui.messages import CancelDone

if TYPE_CHECKING:
    from hpcbox_tui.feed.job import FindSteps, JobWatcher
    from hpcbox_tui.feed.log import LogWatcher
    from hpcbox_tui.feed.ranks import RanksWatcher


class Feed:
    """Where the screens' data come from: Slurm, or whatever else is a SlurmClient, and disks."""

    def __init__(
        self,
        client: SlurmClient,
        find_steps: "FindSteps",
        clock: Callable[[], float],
        snapshot: Snapshot | None = None,
    ) -> None:
        self._client = client
        self._find_steps = find_steps
        self._snapshot = snapshot
        self.clock = clock

    def watch_queue(self, post: Post, wanted: Wanted) -> QueueWatcher:
        """Start telling about the queue."""
        watcher = QueueWatcher(self._client, post, wanted, snapshot=self._snapshot)
        watcher.start()
        return watcher

    def watch_job(self, post: Post, job: str) -> "JobWatcher":
        """Start telling about one job."""
        from hpcbox_tui.feed.job import JobWatcher  # noqa: PLC0415 - not for the first paint

        watcher = JobWatcher(self._client, self._find_steps, post, job, self.clock)
        watcher.start()
        return watcher

    def watch_ranks(self, post: Post, folder: str) -> "RanksWatcher":
        """Start telling what the ranks of a step print."""
        from hpcbox_tui.feed.ranks import RanksWatcher  # noqa: PLC0415 - not for the first paint

        watcher = RanksWatcher(post, folder)
        watcher.start()
        return watcher

    def watch_log(self, post: Post, path: str) -> "LogWatcher":
        """Start telling what is in a file."""
        from hpcbox_tui.feed.log import LogWatcher  # noqa: PLC0415 - not for the first paint

        watcher = LogWatcher(post, path)
        watcher.start()
        return watcher

    def cancel_command(self, keys: Sequence[str]) -> list[str]:
        """Return the command line that a cancel of these jobs stands for."""
        return self._client.cancel_command(keys)

    def cancel(self, post: Post, keys: Sequence[str]) -> None:
        """Cancel exactly these jobs, and tell what came of it."""

        def ask() -> None:
            try:
                done = CancelDone(self._client.cancel(keys), "")
            except HpcboxError as error:
                done = CancelDone(None, str(error))
            # The application may have ended while Slurm thought about it.
            with contextlib.suppress(RuntimeError):
                post(done)

        threading.Thread(target=ask, name="hpcbox-cancel", daemon=True).start()

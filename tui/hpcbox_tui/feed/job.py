"""Asks for one job, and reads what its newest step has left on disk."""

import time
from collections.abc import Callable

from hpcbox.errors import HpcboxError
from hpcbox.views import JobDetail, SlurmClient, StepFolder, StepReader, StepView, open_step
from hpcbox_tui.feed.watcher import Post, Watcher
from hpcbox_tui.messages import JobChanged

FindSteps = Callable[[JobDetail], tuple[StepFolder, ...]]

# A pull's progress is read from disk; Slurm is asked less often.
_DISK_SECONDS = 0.5
_SLURM_SECONDS = 2.0
_RETRY_SECONDS = 5.0


class JobWatcher(Watcher):
    """Tells a screen what is known of one job."""

    def __init__(
        self,
        client: SlurmClient,
        find_steps: FindSteps,
        post: Post,
        job: str,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(f"hpcbox-job-{job}", post)
        self._client = client
        self._find_steps = find_steps
        self._job = job
        self._clock = clock
        self._detail: JobDetail | None = None
        self._taken_at = 0.0
        self._problem = ""
        self._steps: tuple[StepFolder, ...] = ()
        self._reader: StepReader | None = None
        self._ask_at = 0.0
        self._told: tuple[object, ...] = ()

    def look(self) -> float:
        """Ask Slurm when it is time to, read the newest step's folder, tell what changed."""
        if time.monotonic() >= self._ask_at:
            self._ask()
        view = self._view()
        state = (self._detail, self._steps, view, self._problem)
        if state != self._told:
            self._told = state
            self.tell(JobChanged(*state, self._taken_at))
        return _DISK_SECONDS

    def ask_now(self) -> None:
        """Ask Slurm at once."""
        self._ask_at = 0.0
        self.wake()

    def _ask(self) -> None:
        began = time.monotonic()
        wait = _SLURM_SECONDS
        try:
            self._detail = self._client.detail(self._job)
            self._taken_at, self._problem = self._clock(), ""
        except HpcboxError as error:
            # Also when it has ended and Slurm has forgotten it: what was seen last stays.
            self._problem, wait = str(error), _RETRY_SECONDS
        if self._detail is not None:
            self._steps = self._find_steps(self._detail)
        took = time.monotonic() - began
        self._ask_at = time.monotonic() + max(wait, 4 * took)

    def _view(self) -> StepView | None:
        folder = self._steps[-1].folder if self._steps else ""
        if not folder:
            return None
        if self._reader is None or self._reader.folder != folder:
            self._reader = open_step(folder)
        return self._reader.view()

"""A client with a queue in memory: for the demonstration and for tests of screens.

It passes the tests of the client that runs commands (tests/cluster/test_client_contract.py).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hpcbox.cluster.client import Cancelled, Wanted, check_key
from hpcbox.cluster.model import ENDED, Job, JobDetail, Queue
from hpcbox.errors import HpcboxError, NoAllocation


class FakeClient:
    """Answers from what it was given; change `lines`, `details` and `failure` at any time.

    Attributes:
        lines: key → job, in the order of the queue; ended ones are listed only when asked for.
        details: key → what `detail` returns; by default little more than the job.
        failure: raised by every call while it is set.
    """

    def __init__(
        self,
        jobs: Iterable[Job] = (),
        *,
        name: str = "fake",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the first queue, the cluster's name and the clock."""
        self.lines = {job.key: job for job in jobs}
        self.details: dict[str, JobDetail] = {}
        self.failure: HpcboxError | None = None
        self._name = name
        self._clock = clock

    def cluster(self) -> str:
        """Return the cluster's name."""
        self._fail()
        return self._name

    def queue(self, wanted: Wanted) -> Queue:
        """Return the jobs that are wanted."""
        self._fail()
        return Queue(
            jobs=tuple(job for job in self.lines.values() if _is_wanted(job, wanted)),
            taken_at=self._clock(),
            query_seconds=0.0,
            cluster=self._name,
            user=wanted.user or "",
        )

    def detail(self, job: str) -> JobDetail:
        """Return all that is known of one job."""
        self._fail()
        line = self.lines.get(check_key(job)) or next(iter(self._named(job)), None)
        if line is None:
            raise NoAllocation(f"there is no job {job}", hint="it may have ended long ago")
        detail = self.details.get(line.key)
        if detail is not None:
            return replace(detail, job=line)
        return JobDetail(line, line.job_id, "", "", "", line.container, "", (), (), ())

    def cancel(self, keys: Sequence[str]) -> Cancelled:
        """Cancel exactly these jobs."""
        self.cancel_command(keys)
        self._fail()
        gone = []
        for key in keys:
            found = [job for job in self._named(key) if job.state not in ENDED]
            if not found:
                gone.append(key)
            for job in found:
                self.lines[job.key] = replace(job, state="CANCELLED", reason="")
        return Cancelled(tuple(key for key in keys if key not in gone), tuple(gone))

    def cancel_command(self, keys: Sequence[str]) -> list[str]:
        """Return the command line of `cancel`."""
        return ["scancel", *map(check_key, keys)]

    def _named(self, key: str) -> list[Job]:
        """The line of a key; an array's id names all its lines."""
        return [job for job in self.lines.values() if job.key == key or str(job.job_id) == key]

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def _is_wanted(job: Job, wanted: Wanted) -> bool:
    ids = {key.partition("_[")[0] for key in wanted.jobs}
    return (
        (wanted.user is None or job.user == wanted.user)
        and (job.state in wanted.states if wanted.states else job.state not in ENDED)
        and (not wanted.partitions or job.partition in wanted.partitions)
        and (not ids or job.key in ids or str(job.job_id) in ids)
    )

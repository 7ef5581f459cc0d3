"""From what a user types (a job's id) to the folders that its steps have left."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from hpcbox.cluster.client import SlurmClient, check_key
from hpcbox.cluster.model import JobDetail
from hpcbox.errors import ClusterError, RequestError
from hpcbox.ranks import folders, layout
from hpcbox.ranks.folders import StepFolder


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a job: by Slurm, and from disk.

    Attributes:
        job: as the user named it.
        detail: what Slurm says, None when it doesn't know the job (any more) or can't be asked.
        steps: those that have left output, the newest last.
        reason: why there is no detail, None when there is or none was to be had.
    """

    job: str
    detail: JobDetail | None
    steps: tuple[StepFolder, ...]
    reason: ClusterError | None = None

    @property
    def may_run(self) -> bool:
        """Whether Slurm still runs it, or will."""
        return self.detail is not None and (
            self.detail.job.is_running or self.detail.job.state in ("PENDING", "CONFIGURING")
        )


def find(client: SlurmClient, job: str, places: Sequence[str] = ()) -> Found:
    """Look for a job in Slurm and on disk.

    Args:
        client: whom to ask.
        job: its id; one that isn't Slurm's is looked for on disk only.
        places: more folders in which steps' folders may lie; the first to be looked at.
    """
    try:
        detail, reason = client.detail(check_key(job)), None
    except (ClusterError, RequestError) as error:
        detail = None
        reason = error if isinstance(error, ClusterError) else None
    return Found(job, detail, steps_of(detail, job, places), reason)


def steps_of(
    detail: JobDetail | None, job: str = "", places: Sequence[str] = ()
) -> tuple[StepFolder, ...]:
    """Return the steps that have left output, the newest last; looks at disks only.

    Args:
        detail: what Slurm says of the job, None when it doesn't know it.
        job: its id, used without a detail.
        places: more folders in which steps' folders may lie.
    """
    likely = [*places, os.getcwd(), layout.fallback_folder(os.geteuid())]
    number = job
    if detail is not None:
        number = str(detail.number)
        likely += [detail.work_dir] if detail.work_dir else []
    return folders.find(number, home=os.path.expanduser("~"), places=likely)

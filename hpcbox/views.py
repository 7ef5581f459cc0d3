"""All that the screens see of hpcbox: read-only values and the calls that make them.

Nothing here is slow to import; calls that ask Slurm or read a disk say so and belong in a thread.
"""

from dataclasses import dataclass

from hpcbox.cluster.client import Cancelled, SlurmClient, Wanted
from hpcbox.cluster.commands import CommandClient
from hpcbox.cluster.model import ENDED, Job, JobDetail, Queue, Step
from hpcbox.ranks.grouping import Group, Grouping
from hpcbox.ranks.layout import ERR, OUT
from hpcbox.ranks.reader import Line, MergedLines, RankLines, StepReader
from hpcbox.ranks.step import NodeView, RankView, StepFacts, StepView

__all__ = [
    "ENDED",
    "ERR",
    "OUT",
    "Cancelled",
    "Group",
    "Grouping",
    "Job",
    "JobDetail",
    "Line",
    "MergedLines",
    "NodeView",
    "Queue",
    "RankLines",
    "RankView",
    "SlurmClient",
    "Step",
    "StepFacts",
    "StepFolder",
    "StepReader",
    "StepView",
    "Wanted",
    "find_steps",
    "open_step",
    "slurm",
]


@dataclass(frozen=True, slots=True)
class StepFolder:
    """A step whose output is on disk.

    Attributes:
        job, step: ids as Slurm prints them ("12", "0").
        folder: where its files are.
    """

    job: str
    step: str
    folder: str


def slurm() -> SlurmClient:
    """Return the client that asks Slurm's commands."""
    return CommandClient()


def find_steps(job: str, *, cluster: str = "", work_dir: str = "") -> tuple[StepFolder, ...]:
    """Return a job's steps that have left output, the newest last; looks at disks only.

    Args:
        job: the job's id or key ("12", "12_3").
        cluster: narrows the search where several clusters share a home; "" for any.
        work_dir: the job's working directory when it is known (JobDetail.work_dir).
    """
    raise NotImplementedError


def open_step(folder: str) -> StepReader:
    """Return a reader of a step's folder, which need not exist yet."""
    return StepReader(folder)

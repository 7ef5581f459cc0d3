"""All that the screens see of hpcbox: read-only values and the calls that make them.

Nothing here is slow to import; calls that ask Slurm or read a disk say so and belong in a thread.
"""

from hpcbox.cluster.client import Cancelled, SlurmClient, Wanted
from hpcbox.cluster.commands import CommandClient
from hpcbox.cluster.model import ENDED, Job, JobDetail, Queue, Step
from hpcbox.cluster.node_list import compress, expand
from hpcbox.ranks import lookup
from hpcbox.ranks.files import RankLines, search
from hpcbox.ranks.folders import StepFolder
from hpcbox.ranks.grouping import Group, Grouping
from hpcbox.ranks.layout import ERR, OUT
from hpcbox.ranks.merge import Line, MergedLines
from hpcbox.ranks.reader import StepReader
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
    "compress",
    "expand",
    "find_steps",
    "open_step",
    "search",
    "slurm",
]


def slurm() -> SlurmClient:
    """Return the client that asks Slurm's commands."""
    return CommandClient()


def find_steps(detail: JobDetail) -> tuple[StepFolder, ...]:
    """Return a job's steps that have left output, the newest last; looks at disks only."""
    return lookup.steps_of(detail)


def open_step(folder: str) -> StepReader:
    """Return a reader of a step's folder, which need not exist yet."""
    return StepReader(folder)

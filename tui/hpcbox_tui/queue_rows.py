"""The queue as rows: filtered, sorted, arrays folded. Pure, and cheap for 100,000 jobs.

A job by itself is its own row; what Slurm lists of one array (each running task, the pending rest)
is one row that can be unfolded.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from hpcbox.views import Job
from hpcbox_tui.filters import keep
from hpcbox_tui.styles import short_state


@dataclass(frozen=True, slots=True)
class ArrayRow:
    """All listed lines of an array of jobs, as one row.

    Attributes:
        job_id: the array's number.
        jobs: its lines, in order.
        is_open: whether the lines follow below.
    """

    job_id: int
    jobs: tuple[Job, ...]
    is_open: bool

    def counts(self) -> str:
        """Return how many tasks are in which state: "R17 PD3"."""
        return count_states(self.jobs)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A line of an array that is unfolded."""

    job: Job


Row = Job | ArrayRow | TaskRow

# Sort orders in the order in which the key o goes through them; "" is Slurm's own.
ORDERS: dict[str, Callable[[Job], Any]] = {
    "": lambda _job: 0,
    "id": lambda job: job.job_id,
    "name": lambda job: job.name,
    "user": lambda job: job.user,
    "state": lambda job: job.state,
    "time": lambda job: job.elapsed_seconds,
    "nodes": lambda job: job.nodes,
    "partition": lambda job: job.partition,
}


def count_states(jobs: Iterable[Job]) -> str:
    """Return how many jobs are in which state, the most frequent first: "R17 PD3"."""
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.state] = counts.get(job.state, 0) + job.tasks
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return " ".join(f"{short_state(state)}{count}" for state, count in ordered)


def jobs_of(row: Row) -> tuple[Job, ...]:
    """Return the jobs that a row stands for."""
    if isinstance(row, ArrayRow):
        return row.jobs
    return (row.job,) if isinstance(row, TaskRow) else (row,)


def row_id(row: Row) -> str:
    """Return what a row is called, the same in each new queue."""
    if isinstance(row, ArrayRow):
        return f"{row.job_id}_*"
    return row.job.key if isinstance(row, TaskRow) else row.key


def arrange(
    jobs: Sequence[Job],
    *,
    text: str = "",
    order: str = "",
    descending: bool = False,
    unfolded: AbstractSet[int] = frozenset(),
) -> list[Row]:
    """Return the rows to show.

    Args:
        jobs: the queue, in Slurm's order.
        text: a filter (filters.py).
        order: one of ORDERS.
        descending: the largest first.
        unfolded: numbers of the arrays whose lines are shown.
    """
    kept = keep(jobs, text) if text else list(jobs)
    if order:
        kept.sort(key=ORDERS[order], reverse=descending)
    elif descending:
        kept.reverse()
    return _fold(kept, unfolded)


def _fold(jobs: list[Job], unfolded: AbstractSet[int]) -> list[Row]:
    """Return rows where an array stands at the place of its first line."""
    members: dict[int, list[Job]] = {}
    for job in jobs:
        if "_" in job.key:
            members.setdefault(job.job_id, []).append(job)
    if not members:
        return list(jobs)
    rows: list[Row] = []
    for job in jobs:
        lines = members.get(job.job_id) if "_" in job.key else None
        if lines is None or len(lines) == 1:
            rows.append(job)
        elif lines[0] is job:
            is_open = job.job_id in unfolded
            rows.append(ArrayRow(job.job_id, tuple(lines), is_open))
            rows.extend(TaskRow(line) for line in lines if is_open)
    return rows

"""The columns of the queue: which fit a width, and what stands in them. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.style import Style

from hpcbox.views import Job
from hpcbox_tui.queue_rows import ArrayRow, Row, TaskRow, jobs_of
from hpcbox_tui.styles import BOLD, BUSY, DIM, PLAIN, STATES, WAITING, short_state
from hpcbox_tui.text import duration, fit, fit_right

Parts = list[tuple[str, Style]]

# What pending reasons mean (squeue(1), JOB REASON CODES); others are shown as they are.
REASONS = {
    "Resources": "waits for nodes",
    "Priority": "others come first",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that failed",
    "JobHeldUser": "held by its user",
    "JobHeldAdmin": "held by an administrator",
    "BeginTime": "starts later",
    "JobArrayTaskLimit": "array's limit of running tasks",
    "QOSMaxJobsPerUserLimit": "as many jobs as allowed run",
    "QOSMaxCpuPerUserLimit": "as many CPUs as allowed are used",
    "AssocGrpCpuLimit": "as many CPUs as allowed are used",
    "AssocMaxJobsLimit": "as many jobs as allowed run",
    "PartitionTimeLimit": "asks for more time than the partition gives",
    "PartitionNodeLimit": "asks for more nodes than the partition gives",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "ReqNodeNotAvail": "a node it wants is not available",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for licences",
    "NodeDown": "a node is down",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        title: its heading.
        width: in cells; 0 takes what is left.
        least: width of the screen from which it is shown.
        cell: what stands in it and how it looks, given the seconds since the queue was taken.
        order: the sort order (queue_rows.ORDERS) it stands for, "" for none.
        is_number: whether it stands at the right.
    """

    title: str
    width: int
    least: int
    cell: Callable[[Row, float], tuple[str, Style]]
    order: str = ""
    is_number: bool = False


def _first(row: Row) -> Job:
    return jobs_of(row)[0]


def _id(row: Row, _age: float) -> tuple[str, Style]:
    if isinstance(row, ArrayRow):
        return f"{'▾' if row.is_open else '▸'}{row.job_id}_*", BOLD
    return (f" {row.job.key}", PLAIN) if isinstance(row, TaskRow) else (row.key, PLAIN)


def _state(row: Row, _age: float) -> tuple[str, Style]:
    if isinstance(row, ArrayRow):
        states = {job.state for job in row.jobs}
        if len(states) > 1:
            return "mix", BUSY
    state = _first(row).state
    return short_state(state), STATES.get(state, PLAIN)


def _time(row: Row, age: float) -> tuple[str, Style]:
    job = _first(row)
    if isinstance(row, ArrayRow) or not job.is_running:
        return "", PLAIN
    return duration(job.elapsed_seconds + (age if job.state == "RUNNING" else 0)), PLAIN


def _limit(row: Row, _age: float) -> tuple[str, Style]:
    limit = _first(row).limit_seconds
    return ("unlimited" if limit is None else duration(limit)), DIM


def _count(row: Row) -> int:
    return sum(job.nodes * (job.tasks if isinstance(row, ArrayRow) else 1) for job in jobs_of(row))


def _where(row: Row, _age: float) -> tuple[str, Style]:
    if isinstance(row, ArrayRow):
        return row.counts(), BUSY
    job = _first(row)
    if job.node_list:
        return job.node_list, PLAIN
    reason = REASONS.get(job.reason, job.reason)
    if job.tasks > 1:
        reason = f"{job.tasks} tasks, {reason}"
    return reason, WAITING if job.state == "PENDING" else PLAIN


def short_image(image: str) -> str:
    """Return an image's name without registry and folders: "mpich:1"."""
    return image.rsplit("/", 1)[-1]


COLUMNS = (
    Column("JOB", 13, 0, _id, "id"),
    Column("NAME", 12, 40, lambda row, _age: (_first(row).name, PLAIN), "name"),
    Column("USER", 8, 60, lambda row, _age: (_first(row).user, DIM), "user"),
    Column("PARTITION", 10, 110, lambda row, _age: (_first(row).partition, DIM), "partition"),
    Column("ST", 3, 0, _state, "state"),
    Column("TIME", 10, 50, _time, "time", is_number=True),
    Column("LIMIT", 11, 120, _limit, "", is_number=True),
    Column("NODES", 5, 70, lambda row, _age: (str(_count(row)), PLAIN), "nodes", is_number=True),
    Column("IMAGE", 18, 100, lambda row, _age: (short_image(_first(row).container), PLAIN)),
    Column("WHERE OR WHY", 0, 0, _where),
)


def columns_for(width: int) -> list[tuple[Column, int]]:
    """Return the columns for a screen with their widths; a blank stands between two of them."""
    shown = [column for column in COLUMNS if width >= column.least]
    fixed = sum(column.width + 1 for column in shown if column.width)
    rest = width - fixed
    extra = max(0, rest - 40)
    result = []
    for column in shown:
        cells = column.width
        # Where there is room, names and images get half of it.
        if column.title in ("NAME", "IMAGE"):
            cells += min(extra // 4, 20)
        result.append((column, cells))
    left = width - sum(cells + 1 for _column, cells in result if cells)
    return [(column, cells or max(0, left)) for column, cells in result]


def draw_cells(row: Row, columns: list[tuple[Column, int]], age: float) -> Parts:
    """Return a row's cells as parts, each as wide as its column, a blank between two."""
    parts: Parts = []
    for column, width in columns:
        text, style = column.cell(row, age)
        parts.append(((fit_right if column.is_number else fit)(text, width), style))
        parts.append((" ", PLAIN))
    return parts[:-1]

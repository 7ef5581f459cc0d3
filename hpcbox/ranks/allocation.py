"""The allocation that this process stands in, and what a launch without srun takes of it; pure.

Slurm tells it in variables; their names and forms stand in salloc(1) and sbatch(1), section OUTPUT
ENVIRONMENT VARIABLES.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hpcbox.cluster.node_list import expand
from hpcbox.errors import NoAllocation, RequestError, shorten
from hpcbox.ranks.srun_options import CommandLine

_GROUP = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,6})\))?", re.ASCII)
_TIME = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,9})(?::([0-9]{1,9}))?(?::([0-9]{1,9}))?", re.ASCII)
_UNLIMITED = ("0", "-1", "INFINITE", "UNLIMITED")
_MAXIMUM_COUNT = 10_000_000


@dataclass(frozen=True, slots=True)
class Allocation:
    """A job that this process is part of.

    Attributes:
        job: its id.
        cluster: the cluster's name, "" when unknown.
        nodes: names, in Slurm's order.
        tasks: how many tasks the job asked for, None when it didn't say.
        tasks_per_node: for each node, () when unknown.
        cpus_per_task: what the job asked for, 1 when it didn't say.
    """

    job: str
    cluster: str
    nodes: tuple[str, ...]
    tasks: int | None
    tasks_per_node: tuple[int, ...]
    cpus_per_task: int


@dataclass(frozen=True, slots=True)
class Shape:
    """How many ranks a launch has, and where.

    Attributes:
        nodes: those it runs on.
        tasks: number of ranks.
        tasks_per_node: as ranks/plan.py has it.
        cpus_per_task: told to each rank.
    """

    nodes: tuple[str, ...]
    tasks: int
    tasks_per_node: int | tuple[int, ...] | None
    cpus_per_task: int


def here(environ: Mapping[str, str]) -> Allocation | None:
    """Return the allocation of this process, None outside of one.

    Raises:
        NoAllocation: the variables contradict each other.
    """
    job = environ.get("SLURM_JOB_ID", "")
    if not job:
        return None
    listed = environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST", "")
    if not job.isascii() or not job.isdigit() or not listed:
        raise NoAllocation(
            "the variables of the allocation are incomplete: SLURM_JOB_ID is "
            f"'{shorten(job, 40)}', SLURM_JOB_NODELIST '{shorten(listed, 80)}'",
            hint="run this in salloc's shell or in a batch script",
        )
    nodes = expand(listed)
    # Set with --ntasks-per-node and in batch jobs; for salloc -N it counts CPUs.
    per_node = _per_node(environ.get("SLURM_TASKS_PER_NODE", ""))
    return Allocation(
        job=job,
        cluster=environ.get("SLURM_CLUSTER_NAME", ""),
        nodes=nodes,
        tasks=_count(environ.get("SLURM_NTASKS") or environ.get("SLURM_NPROCS")),
        tasks_per_node=per_node if len(per_node) == len(nodes) else (),
        cpus_per_task=_count(environ.get("SLURM_CPUS_PER_TASK")) or 1,
    )


def shape(line: CommandLine, allocation: Allocation) -> Shape:
    """Return what srun's options -N -n -c --ntasks-per-node -w -x make of an allocation.

    Raises:
        RequestError: a value is no number, or there are not as many nodes.
    """
    nodes = _chosen(line, allocation.nodes)
    per_node = _positive(line, "ntasks-per-node")
    asked = _positive(line, "ntasks")
    whole = nodes == allocation.nodes
    if asked is not None:
        tasks = asked
    elif per_node is not None:
        tasks = per_node * len(nodes)
    else:
        tasks = (allocation.tasks if whole else None) or len(nodes)
    # srun drops nodes that would stay empty, unless they were asked for.
    if tasks < len(nodes):
        nodes = nodes[:tasks]
    laid_out = allocation.tasks_per_node if whole and nodes == allocation.nodes else ()
    known = per_node if per_node is not None else laid_out
    return Shape(
        nodes=nodes,
        tasks=tasks,
        tasks_per_node=None if isinstance(known, tuple) and sum(known) != tasks else known or None,
        cpus_per_task=_positive(line, "cpus-per-task") or allocation.cpus_per_task,
    )


def asked_tasks(line: CommandLine) -> int:
    """Return how many ranks a new allocation would start, as far as the options tell.

    Raises:
        RequestError: a value is no number.
    """
    asked = _positive(line, "ntasks")
    nodes = _node_range(line)[0] or 1
    return asked or (_positive(line, "ntasks-per-node") or 1) * nodes


def local_shape(line: CommandLine, node: str) -> Shape:
    """Return what the options mean on this machine alone.

    Raises:
        RequestError: a value is no number, or there is more than one node.
    """
    alone = Allocation(
        job="", cluster="", nodes=(node,), tasks=1, tasks_per_node=(), cpus_per_task=1
    )
    return shape(line, alone)


def seconds(text: str) -> float | None:
    """Return a time limit in seconds, None for no limit.

    Forms are srun's: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S, UNLIMITED.

    Raises:
        RequestError: it is none of these.
    """
    if text.upper() in _UNLIMITED:
        return None
    match = _TIME.fullmatch(text)
    if match is None or (match[1] is None and match[4] is None and match[2] is None):
        raise RequestError(f"'{shorten(text, 40)}' is no time", hint="for example 30, 1:30:00, 2-0")
    parts = [int(part) for part in match.groups()[1:] if part is not None]
    if match[1] is not None:
        hours, minutes, rest = [*parts, 0, 0][:3]
        return float(((int(match[1]) * 24 + hours) * 60 + minutes) * 60 + rest)
    if len(parts) == 3:
        return float((parts[0] * 60 + parts[1]) * 60 + parts[2])
    return float(parts[0] * 60 + (parts[1] if len(parts) == 2 else 0))


def _chosen(line: CommandLine, nodes: tuple[str, ...]) -> tuple[str, ...]:
    excluded = set(expand(line.value("exclude") or ""))
    wanted = tuple(dict.fromkeys(expand(line.value("nodelist") or "")))
    for name in wanted:
        if name not in nodes or name in excluded:
            raise RequestError(
                f"node {shorten(name, 60)} is not one that this launch can have",
                hint=f"there are {shorten(', '.join(nodes), 120)}",
            )
    left = tuple(name for name in nodes if name not in excluded)
    smallest, largest = _node_range(line)
    if wanted and smallest is None:
        return tuple(name for name in left if name in wanted)
    if smallest is not None and smallest > len(left):
        raise RequestError(
            f"{smallest} nodes were asked for, and there are {len(left)}",
            hint="ask for fewer, or for a larger allocation",
        )
    if not left:
        raise RequestError("--exclude leaves no node")
    # Those that were named come first when not all are wanted, and all in the allocation's order.
    ordered = [*wanted, *(name for name in left if name not in wanted)]
    kept = set(ordered[: largest or len(ordered)])
    return tuple(name for name in left if name in kept)


def _node_range(line: CommandLine) -> tuple[int | None, int | None]:
    text = line.value("nodes")
    if text is None:
        return None, None
    low, dash, high = text.partition("-")
    smallest, largest = _count(low), _count(high if dash else low)
    if not smallest or not largest or largest < smallest:
        raise RequestError(f"--nodes={shorten(text, 40)} is no number of nodes")
    return smallest, largest


def _positive(line: CommandLine, name: str) -> int | None:
    text = line.value(name)
    if text is None:
        return None
    number = _count(text)
    if not number:
        raise RequestError(f"--{name}={shorten(text, 40)} is no number above zero")
    return number


def _count(text: str | None) -> int | None:
    if not text or not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return min(int(text), _MAXIMUM_COUNT)


def _per_node(text: str) -> tuple[int, ...]:
    """Return (4, 4, 2) of "4(x2),2"; () when it isn't that."""
    counts: list[int] = []
    for group in text.split(","):
        match = _GROUP.fullmatch(group)
        times = int(match[2] or 1) if match else 0
        if match is None or len(counts) + times > _MAXIMUM_COUNT // 100:
            return ()
        counts += [int(match[1])] * times
    return tuple(counts)

"""What a launch without srun takes of the allocation that it stands in."""

import pytest

from hpcbox.errors import NoAllocation, RequestError
from hpcbox.ranks import allocation
from hpcbox.ranks.srun_options import parse

SALLOC = {
    "SLURM_JOB_ID": "12",
    "SLURM_JOB_NODELIST": "n[1-4]",
    "SLURM_TASKS_PER_NODE": "16(x4)",
    "SLURM_CLUSTER_NAME": "lab",
}
SBATCH = {**SALLOC, "SLURM_NTASKS": "10", "SLURM_TASKS_PER_NODE": "4(x2),1(x2)"}
ALL = ("n1", "n2", "n3", "n4")


def shape(environ: dict[str, str], *words: str) -> allocation.Shape:
    job = allocation.here(environ)
    assert job is not None
    return allocation.shape(parse([*words, "x"]), job)


def test_outside_of_a_job_there_is_none() -> None:
    assert allocation.here({}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"SLURM_JOB_ID": "12"},
        {"SLURM_JOB_ID": "x", "SLURM_JOB_NODELIST": "n1"},
    ],
)
def test_half_an_allocation_is_told(wrong: dict[str, str]) -> None:
    with pytest.raises(NoAllocation, match="incomplete"):
        allocation.here(wrong)


@pytest.mark.parametrize(
    ("words", "nodes", "tasks", "per_node"),
    [
        ((), ALL, 4, None),
        (("-n16",), ALL, 16, None),
        (("-n64",), ALL, 64, (16, 16, 16, 16)),
        (("-N2",), ("n1", "n2"), 2, None),
        (("-N2-3", "-n6"), ("n1", "n2", "n3"), 6, None),
        (("--ntasks-per-node=2",), ALL, 8, 2),
        (("--ntasks-per-node=2", "-N2"), ("n1", "n2"), 4, 2),
        (("-w", "n3,n2"), ("n2", "n3"), 2, None),
        (("-w", "n3", "-N2"), ("n1", "n3"), 2, None),
        (("-x", "n[1-2]", "-n2"), ("n3", "n4"), 2, None),
        (("-n2",), ("n1", "n2"), 2, None),
    ],
)
def test_the_options_choose_nodes_and_tasks(
    words: tuple[str, ...], nodes: tuple[str, ...], tasks: int, per_node: object
) -> None:
    found = shape(SALLOC, *words)

    assert (found.nodes, found.tasks, found.tasks_per_node) == (nodes, tasks, per_node)


def test_a_batch_jobs_tasks_are_taken_with_their_layout() -> None:
    found = shape(SBATCH)
    smaller = shape(SBATCH, "-N2")

    assert (found.tasks, found.tasks_per_node) == (10, (4, 4, 1, 1))
    assert (smaller.tasks, smaller.nodes) == (2, ("n1", "n2"))


def test_cpus_per_task_is_told_on() -> None:
    assert shape({**SALLOC, "SLURM_CPUS_PER_TASK": "3"}).cpus_per_task == 3
    assert shape(SALLOC, "-c", "2").cpus_per_task == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-N5",), "5 nodes were asked for"),
        (("-N0",), "--nodes=0"),
        (("-Nx",), "--nodes=x"),
        (("-n", "-1"), "--ntasks=-1"),
        (("-n", "²"), "--ntasks"),
        (("-w", "n9"), "n9"),
        (("-w", "n1", "-x", "n1"), "n1"),
        (("-x", "n[1-4]"), "leaves no node"),
        (("-w", "n[1"), "no node list"),
    ],
)
def test_what_the_allocation_can_not_give_is_refused(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        shape(SALLOC, *words)


def test_without_slurm_there_is_one_node() -> None:
    found = allocation.local_shape(parse(["-n3", "x"]), "here")

    assert (found.nodes, found.tasks) == (("here",), 3)
    with pytest.raises(RequestError, match="2 nodes"):
        allocation.local_shape(parse(["-N2", "x"]), "here")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 60), ("1:30", 90), ("1:00:00", 3600), ("2-0", 172800), ("1-2:3", 93780),
        ("0-0:0:5", 5), ("0", None), ("UNLIMITED", None), ("infinite", None),
    ],
)  # fmt: skip
def test_time_limits_are_read_as_srun_does(text: str, seconds: float | None) -> None:
    assert allocation.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1:2:3:4", "-5", "1-", "1 0", "²"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="no time"):
        allocation.seconds(text)

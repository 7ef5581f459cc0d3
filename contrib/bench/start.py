"""make bench-start: what a container adds to a step, against bare srun in the same run.

A held allocation of two nodes; `srun true` bare, in a container whose root is used for the first
time in the job, and on the same root again, alternating; 1 and 16 tasks per node. Wall seconds are
srun's; CPU seconds are those of both nodes' cgroups (slurmd, slurmstepd, hpcbox, tasks). The image
is present on the nodes. Figures are medians of the differences to the bare run of the same round.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "contrib" / "bench")]

from report import Figure, median, publish  # noqa: E402

from tests.services import cgroups  # noqa: E402
from tests.services.slurm import Cluster  # noqa: E402

ROUNDS = 16
WARM_UP = 2
IMAGE = "10.77.0.1:5000/debian:1"
BUDGETS = {"first": (0.060, 0.060), "later": (0.005, 0.003)}


def cpu_seconds(cluster: Cluster) -> float:
    """CPU time that both nodes have used so far."""
    return (
        sum(
            int(Path(file).with_name("cpuacct.usage").read_text(encoding="ascii"))
            for node in cluster.node_names
            for file in cgroups.join_files(cluster.name, node)
            if "/cpuacct/" in file
        )
        / 1e9
    )


def measured(cluster: Cluster, job: str, options: list[str], tasks: int) -> tuple[float, float]:
    """Return (wall, CPU per node) seconds of one step."""
    words = ["srun", f"--jobid={job}", "-N2", f"-n{2 * tasks}", "--overlap", "--oversubscribe"]
    before = cpu_seconds(cluster)
    start = time.perf_counter()
    cluster.run([*words, *options, "true"], check=True)
    wall = time.perf_counter() - start
    return wall, (cpu_seconds(cluster) - before) / 2


def rounds(
    cluster: Cluster, job: str, image: str, tasks: int
) -> dict[str, list[tuple[float, float]]]:
    """Return per case its (wall, CPU) of every round; the order turns from round to round."""
    inside = [f"--container={image}"]
    cases = {"bare": [], "first": inside, "later": inside}
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for number in range(ROUNDS + WARM_UP):
        order = list(cases) if number % 2 == 0 else list(reversed(cases))
        for name in order:
            figures = measured(cluster, job, cases[name], tasks)
            if number >= WARM_UP:
                results[name].append(figures)
    return results


def figures_of(tasks: int, results: dict[str, list[tuple[float, float]]]) -> list[Figure]:
    """Return what each case adds to bare srun."""
    label = f"{tasks} task{'s' if tasks > 1 else ''}/node"
    bare = results["bare"]
    figures = [
        median(f"bare srun, {label}, wall", [wall for wall, _ in bare], "s"),
        median(f"bare srun, {label}, CPU per node", [cpu for _, cpu in bare], "s"),
    ]
    for name, runs in results.items():
        if name == "bare":
            continue
        for index, quantity in ((0, "wall"), (1, "CPU per node")):
            added = [run[index] - base[index] for run, base in zip(runs, bare, strict=True)]
            budget = BUDGETS[name][index]
            figures.append(median(f"{name} use, {label}, added {quantity}", added, "s", budget))
    return figures


def main() -> int:
    """Run the benchmark; return the exit code."""
    figures: list[Figure] = []
    with Cluster(nodes=2, profile="wide", name=f"bench{os.getpid()}") as cluster:
        done = cluster.run(["salloc", "--no-shell", "-N2", "--exclusive"], check=True)
        job = done.stderr.split("job allocation ")[1].split()[0]
        image = cluster.run(["hpcbox", "resolve", IMAGE], check=True).stdout.strip()
        # The pull is not what is measured here.
        measured(cluster, job, [f"--container={image}"], 1)
        for tasks in (1, 16):
            figures += figures_of(tasks, rounds(cluster, job, image, tasks))
    return publish("start", figures)


if __name__ == "__main__":
    sys.exit(main())

"""A real queue on the screen: 10,000 held jobs, each by itself, on a slurmctld of its own."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

from report import Figure, median
from screen import Screen
from stand_in import BENCH, HPCBOX

from tests.services.slurm import Cluster
from tests.services.slurm_commands import install

if TYPE_CHECKING:
    from pathlib import Path

JOBS = 10_000
# How many submit at the same time.
SUBMITTERS = 4
QUERIES = 3
WINDOWS, WINDOW_SECONDS = 3, 20.0


def real_queue(folder: Path) -> list[Figure]:
    """Show the queue of a real controller."""
    with Cluster(nodes=1, plugin=False, with_images=False, name=f"bench{os.getpid()}") as cluster:
        _submit(cluster)
        programs = install(cluster, folder / "bin", user="alice")
        environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "USER": "root",
            "SLURM_CLUSTER_NAME": cluster.name,
        }
        answers = [_answer(environment) for _ in range(QUERIES)]
        with Screen([HPCBOX, "tui", "--all"], environment) as screen:
            screen.wait_for(f"PD{JOBS}", 120)
            first = screen.cpu_seconds()
            screen.run(5.0)
            shares = []
            for _ in range(WINDOWS):
                begun, cpu = time.perf_counter(), screen.cpu_seconds() + screen.children_seconds()
                screen.run(WINDOW_SECONDS)
                used = screen.cpu_seconds() + screen.children_seconds() - cpu
                shares.append(100 * used / (time.perf_counter() - begun))
            memory = screen.private_megabytes()
    return [
        median("10,000 jobs on slurmctld, squeue, wall", answers, "s"),
        median("10,000 jobs on slurmctld, all on screen, CPU", [first], "s"),
        median("10,000 jobs on slurmctld, CPU with queries", shares, "%", 10),
        median("10,000 jobs on slurmctld, private memory", [memory], "MB", 120),
    ]


def _submit(cluster: Cluster) -> None:
    """Put the jobs into the queue."""
    words = ["gcc", "-O1", "-o", "./held_jobs", str(BENCH / "held_jobs.c"), "-lslurm"]
    cluster.run(words, check=True)
    command = cluster.command(["./held_jobs", str(JOBS // SUBMITTERS)], user="alice")
    submitters = [subprocess.Popen(command) for _ in range(SUBMITTERS)]
    codes = [submitter.wait(300) for submitter in submitters]
    if any(codes):
        raise SystemExit(f"held_jobs ended with {codes}")


def _answer(environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(
        ["squeue", "--noheader"], env=environment, check=True, capture_output=True, timeout=60
    )
    return time.perf_counter() - begun

"""kill -9 of a random process of a job at random moments: nothing is left, no node is lost."""

from __future__ import annotations

import os
import random
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.services.commands import wait_until

if TYPE_CHECKING:
    from tests.services.slurm import Cluster

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1200)]

REG = "10.77.0.1:5000"
MOMENTS = 20
# A pull of mpich:1 and its ranks' start take about this long on three nodes of this lab.
LONGEST_SECONDS = 5.0
# The processes of the job on a node: slurmstepd's children, whatever they are. slurmstepd itself is
# Slurm's: when it dies srun waits for its time-out, container or not.
VICTIMS = "pgrep -x slurmstepd | while read -r pid; do pgrep -P $pid; done"


def forget_images(cluster: Cluster) -> None:
    """Empty every node's store; a lease lives a moment longer than its step."""

    def gone(node: str) -> bool:
        return cluster.run(["hpcbox", "rm", "--all"], user="root", node=node).returncode == 0

    for node in cluster.node_names:
        wait_until(
            partial(gone, node), timeout_seconds=10, what=f"no step holds an image on {node}"
        )


def descendants(cluster: Cluster, node: str) -> list[str]:
    """Pids of a node's processes that belong to steps."""
    script = (
        "level=$(" + VICTIMS + '); while [ -n "$level" ]; do echo $level; '
        "level=$(for pid in $level; do pgrep -P $pid; done); done"
    )
    return cluster.run(["sh", "-c", script], user="root", node=node).stdout.split()


def test_nothing_is_left_after_a_random_process_of_the_job_was_killed(cluster: Cluster) -> None:
    seed = int(os.environ.get("HPCBOX_SEED", str(time.time_ns() % 10**6)))
    print(f"HPCBOX_SEED={seed}")
    dice = random.Random(seed)  # noqa: S311 - moments, not secrets
    killed = 0
    for _ in range(MOMENTS):
        forget_images(cluster)
        with cluster.start(
            [
                "srun",
                "-K",
                f"--container={REG}/mpich:1",
                "--mpi=pmi2",
                "-N3",
                "-n6",
                "/opt/mpi/hello",
            ]
        ) as step:
            # The moment is the test's random input, not a wait for something.
            time.sleep(dice.uniform(0.05, LONGEST_SECONDS))
            node = dice.choice(cluster.node_names)
            victims = descendants(cluster, node)
            if victims:
                killed += 1
                cluster.run(["kill", "-9", dice.choice(victims)], user="root", node=node)
            step.communicate(timeout=90)
        cluster.wait_idle(timeout_seconds=15)
    forget_images(cluster)
    # What SIGKILL left half made, this pull sweeps.
    done = cluster.run(["srun", "-N3", f"--container={REG}/mpich:1", "true"], timeout_seconds=90)

    assert killed > 0
    assert done.returncode == 0, done.stderr

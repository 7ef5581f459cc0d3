"""kill -9 of any process of a launch over ssh at any moment: nothing is left on any node."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.services import leftovers
from tests.services.commands import wait_until
from tests.services.slurm import Cluster
from tests.whole.launched import MPICH, launch, words

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1200)]

MOMENTS = 20
# From the command to ranks that wait for each other this takes about so long on this lab.
LONGEST_SECONDS = 2.0
# Whatever alice runs there: launcher, agent, keeper, container, hydra, ranks, ssh's session.
VICTIMS = ["pgrep", "-u", "alice"]


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    """Four wide nodes without the plugin, which have the image already."""
    name = f"kills{os.getpid()}"
    with Cluster(nodes=4, profile="wide", plugin=False, name=name) as cluster:
        done = launch(cluster, ["true"], image=MPICH, tasks=4, mpi="env", step="pull")
        assert done.returncode == 0, done.stderr
        yield cluster


def test_nothing_is_left_after_a_random_process_was_killed(cluster: Cluster) -> None:
    seed = int(os.environ.get("HPCBOX_SEED", str(time.time_ns() % 10**6)))
    print(f"HPCBOX_SEED={seed}")
    dice = random.Random(seed)  # noqa: S311 - moments, not secrets
    before = leftovers.cluster_snapshot(cluster)
    killed = 0
    for number in range(MOMENTS):
        command = words(cluster, ["/opt/mpi/stall"], tasks=8, step=f"r{number}")
        with cluster.start(command) as launcher:
            # The moment is the test's random input, not a wait for something.
            time.sleep(dice.uniform(0.05, LONGEST_SECONDS))
            machine = dice.choice(cluster.spec.machines)
            victims = cluster.run(VICTIMS, user="root", node=machine).stdout.split()
            if victims:
                victim = dice.choice(victims)
                name = cluster.file(machine, f"/proc/{victim}/comm")
                print(number, machine, name.read_text().strip() if name.exists() else victim)
                killed += 1
                cluster.run(["kill", "-9", victim], user="root", node=machine)
            else:
                launcher.kill()
            _, err = launcher.communicate(timeout=15)
            assert launcher.returncode != 0
            if launcher.returncode > 0:
                assert b"hpcbox: " in err, err
        wait_until(
            lambda: leftovers.difference(before, leftovers.cluster_snapshot(cluster)) == "",
            timeout_seconds=10,
            what=lambda: (
                "nothing is left: "
                + leftovers.difference(before, leftovers.cluster_snapshot(cluster))
            ),
        )
    assert killed >= MOMENTS // 2

"""The listings that other tests trust when they say that nothing was left."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.services import leftovers
from tests.services.commands import wait_until
from tests.services.leftovers import Fact, Snapshot

if TYPE_CHECKING:
    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab


def left(before: Snapshot, cluster: Cluster) -> str:
    return leftovers.difference(before, leftovers.cluster_snapshot(cluster))


def test_a_job_that_cleans_up_leaves_no_difference(plain_cluster: Cluster) -> None:
    before = leftovers.cluster_snapshot(plain_cluster)

    plain_cluster.run(["srun", "-N3", "true"], check=True)

    wait_until(
        lambda: left(before, plain_cluster) == "",
        timeout_seconds=10,
        what=lambda: f"nothing is left: {left(before, plain_cluster)}",
    )


def test_a_process_that_outlives_its_command_is_seen(plain_cluster: Cluster) -> None:
    before = leftovers.cluster_snapshot(plain_cluster)
    stray = "setsid sleep 1234 </dev/null >/dev/null 2>&1 & echo $!"

    pid = plain_cluster.run(["sh", "-c", stray], node="n2", check=True).stdout.strip()

    # The shell answers before setsid has become sleep.
    wait_until(
        lambda: left(before, plain_cluster) == "+ process n2: sleep 1234",
        timeout_seconds=5,
        what=lambda: f"the stray is listed, not {left(before, plain_cluster)}",
    )
    plain_cluster.run(["kill", pid], node="n2", check=True)
    wait_until(lambda: left(before, plain_cluster) == "", timeout_seconds=5, what="it is gone")


def test_a_file_in_shm_is_seen(plain_cluster: Cluster) -> None:
    before = leftovers.cluster_snapshot(plain_cluster)

    plain_cluster.run(["touch", "/dev/shm/stray"], node="n1", check=True)

    assert left(before, plain_cluster) == "+ file n1: /dev/shm/stray"
    plain_cluster.run(["rm", "/dev/shm/stray"], node="n1", check=True)


def test_a_mount_is_seen(plain_cluster: Cluster) -> None:
    before = leftovers.cluster_snapshot(plain_cluster)

    # -n: without a note about it in /run/mount, which would be seen, too.
    mount = ["mount", "-n", "-t", "tmpfs", "stray", "/mnt"]
    plain_cluster.run(mount, user="root", node="n3", check=True)

    assert left(before, plain_cluster) == "+ mount n3: /mnt tmpfs stray"
    plain_cluster.run(["umount", "-n", "/mnt"], user="root", node="n3", check=True)


def test_a_step_cgroup_is_seen_while_its_job_runs(plain_cluster: Cluster) -> None:
    before = leftovers.cluster_snapshot(plain_cluster)
    job = plain_cluster.start(["srun", "-w", "n1", "sh", "-c", "echo on; cat"])
    assert job.stdout is not None
    assert job.stdout.readline() == b"on\n"

    assert "+ cgroup n1: /sys/fs/cgroup/memory/" in left(before, plain_cluster)

    job.communicate(timeout=20)
    plain_cluster.wait_idle()


def test_a_socket_of_hpcbox_is_seen_on_the_host() -> None:
    before = leftovers.snapshot()

    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind("\0hpcbox-stray")
        came = leftovers.difference(before, leftovers.snapshot())

    assert "+ socket @hpcbox-stray" in came


def test_what_others_run_is_no_concern_of_a_lab() -> None:
    ours, theirs = Fact("process", "1 a", "ours"), Fact("process", "2 b", "theirs")
    stranger, loop = Fact("process", "3 c"), Fact("loop", "loop0 /file")

    seen = Snapshot.of([ours, theirs, stranger, loop]).concerning("ours")

    assert seen == Snapshot.of([ours, loop])

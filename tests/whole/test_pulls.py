"""Pulls that fail, stall or are cancelled, on a real cluster, as alice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.whole.asking import IMAGE, check_refused, srun, wait_for_line

if TYPE_CHECKING:
    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab


def test_a_registry_that_refuses_the_user_is_named(cluster: Cluster, odd_registry: str) -> None:
    line = check_refused(
        srun(cluster, f"--container={odd_registry}/refused:1", "true"), "wants credentials"
    )

    assert "hpcbox login" in line


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("wrongdigest:1", "sha256:"),
        ("wrongdiff:1", "is not what was asked for"),
        ("dotdot:1", "../../escaped"),
        ("absolute-link:1", "escaped"),
        ("own-symlink:1", "escaped"),
        ("lower-symlink:1", "out of the image"),
        ("hardlink:1", "shadow"),
        ("root-whiteout:1", ".wh."),
    ],
)
def test_an_image_that_is_not_what_it_promises_is_refused_and_leaves_nothing_visible(
    cluster: Cluster, odd_registry: str, image: str, reason: str
) -> None:
    store = ["find", "/var/lib/hpcbox/images", "-newer", "/var/lib/hpcbox/format"]
    before = cluster.run(store, user="root", node="n3").stdout

    done = srun(cluster, "-w", "n3", f"--container={odd_registry}/{image}", "true")

    line = check_refused(done, reason)
    assert line.startswith("hpcbox: n3: ")
    assert len(line) <= 600
    assert cluster.run(store, user="root", node="n3").stdout == before
    escaped = ["find", "/", "-xdev", "-maxdepth", "6", "-name", "escaped"]
    assert cluster.run(escaped, user="root", node="n3").stdout == ""


def test_scancel_while_a_registry_stalls_frees_the_node_and_leaves_nothing(
    cluster: Cluster, odd_registry: str
) -> None:
    words = ["srun", "-w", "n1", "--job-name=stalled", f"--container={odd_registry}/stalls:1"]
    with cluster.start([*words, "true"]) as step:
        assert step.stderr is not None
        wait_for_line(step.stderr, b"pulling")
        started = time.monotonic()
        cluster.run(["scancel", "--name=stalled"], check=True)
        step.communicate(timeout=20)

    cluster.wait_idle(timeout_seconds=10 - (time.monotonic() - started))
    assert cluster.run(["ls", "/var/lib/hpcbox/tmp"], user="root", node="n1").stdout == ""


def test_a_registry_that_stalls_is_named_after_a_while(cluster: Cluster, odd_registry: str) -> None:
    done = srun(cluster, "-w", "n1", f"--container={odd_registry}/stalls:1", "true")

    check_refused(done, odd_registry)


def test_interrupting_srun_while_a_registry_stalls_leaves_nothing_after_the_next_pull(
    cluster: Cluster, odd_registry: str
) -> None:
    """A second Ctrl-C makes srun kill the step with SIGKILL: then the next pull tidies up."""
    words = ["srun", "-w", "n1", f"--container={odd_registry}/stalls:1"]
    with cluster.start([*words, "true"]) as step:
        assert step.stderr is not None
        wait_for_line(step.stderr, b"pulling")
        for _ in range(2):
            cluster.run(["pkill", "-INT", "--oldest", "-x", "srun"], check=True)
        step.communicate(timeout=20)

    cluster.wait_idle(timeout_seconds=10)
    cluster.run(["hpcbox", "rm", "--all"], user="root", node="n1", check=True)
    assert srun(cluster, "-w", "n1", f"--container={IMAGE}", "true").returncode == 0
    assert cluster.run(["ls", "/var/lib/hpcbox/tmp"], user="root", node="n1").stdout == ""


def test_a_job_with_too_little_memory_for_a_pull_says_what_it_needs(
    cluster: Cluster, odd_registry: str
) -> None:
    done = srun(cluster, "-w", "n2", "--mem=100M", f"--container={odd_registry}/large:1", "true")

    line = check_refused(done, "100 MB of memory")
    assert "--mem" in line


def test_a_job_with_200_mb_pulls_a_large_image(cluster: Cluster, odd_registry: str) -> None:
    """320 MB of incompressible layer: more than the step may hold in memory."""
    done = srun(cluster, "-w", "n2", "--mem=200M", f"--container={odd_registry}/large:1", "/nope")

    assert "not found in image" in done.stderr
    assert done.returncode == 127
    cluster.run(["hpcbox", "rm", "--all"], user="root", node="n2", check=True)


def test_a_store_without_space_is_named(cluster: Cluster) -> None:
    """A tmpfs of 8 MB over the node's store: debian:1 is larger."""
    cluster.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700,uid=990,gid=990", "small"]
        + ["/var/lib/hpcbox"],
        user="root", node="n1", check=True,
    )  # fmt: skip
    try:
        done = srun(cluster, "-w", "n1", f"--container={IMAGE}", "true")
        left = cluster.run(["ls", "/var/lib/hpcbox/images", "/var/lib/hpcbox/tmp"], user="root",
                           node="n1").stdout  # fmt: skip
    finally:
        cluster.run(["umount", "-l", "/var/lib/hpcbox"], user="root", node="n1", check=True)

    line = check_refused(done, "space")
    assert line.startswith("hpcbox: n1: ")
    assert ".json" not in left
    assert left.endswith("/tmp:\n")


def test_a_store_that_is_read_only_is_named(cluster: Cluster) -> None:
    cluster.run(
        ["mount", "-t", "tmpfs", "-o", "ro,mode=0700,uid=990,gid=990", "ro", "/var/lib/hpcbox"],
        user="root", node="n1", check=True,
    )  # fmt: skip
    try:
        done = srun(cluster, "-w", "n1", f"--container={IMAGE}", "true")
    finally:
        cluster.run(["umount", "-l", "/var/lib/hpcbox"], user="root", node="n1", check=True)

    check_refused(done, "ead-only")

"""What ranks print under srun, read by `hpcbox logs` and `hpcbox ps` on the login host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.services.commands import wait_until

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab

HPCBOX = "/opt/hpcbox/bin/hpcbox"
SCRIPT = """
echo start
for line in 1 2 3; do echo line $line of rank $SLURM_PROCID; done
if [ $SLURM_PROCID = 2 ]; then echo odd one; echo trouble >&2; fi
while ! test -e /home/alice/go; do sleep 0.1; done
echo end of rank $SLURM_PROCID
"""


def hpcbox(cluster: Cluster, *words: str) -> CompletedProcess[str]:
    return cluster.run([HPCBOX, *words])


def submit(cluster: Cluster, *options: str) -> str:
    """Start a batch job of four ranks on two nodes, which go on when the file `go` is there."""
    cluster.run(["rm", "-f", "go"], check=True)
    cluster.run(["tee", "ranks.sh"], input=SCRIPT, check=True)
    words = ["sbatch", "--parsable", "-N2", "-n4", f"--container={cluster.registry}/debian:1"]
    words += ["--container-mounts=/home/alice", *options]
    key = cluster.run([*words, "--wrap=srun sh /home/alice/ranks.sh"], check=True).stdout.strip()
    wait_until(
        lambda: hpcbox(cluster, "logs", key, "--grep", "line 3").stdout.count("\n") == 4,
        timeout_seconds=60,
        what=lambda: f"all ranks print: {hpcbox(cluster, 'ps', key)}",
    )
    return key


def test_each_ranks_output_is_read_while_the_job_runs_and_after(cluster: Cluster) -> None:
    key = submit(cluster)

    shown = hpcbox(cluster, "logs", f"{key}:2")
    assert shown.stdout.splitlines() == [
        *("start", "line 1 of rank 2", "line 2 of rank 2", "line 3 of rank 2", "odd one"),
    ]
    assert shown.stderr == "trouble\n"
    merged = hpcbox(cluster, "logs", key, "--merge", "--stdout").stdout.splitlines()
    assert len(merged) == 4 * 4 + 1
    assert merged.index("[3] line 1 of rank 3") < merged.index("[3] line 2 of rank 3")
    ranks = json.loads(hpcbox(cluster, "ps", key, "--json").stdout)["steps"][0]["ranks"]
    assert [rank["state"] for rank in ranks] == ["started"] * 4
    assert [rank["node"] for rank in ranks] == ["n1", "n1", "n2", "n2"]

    with cluster.start([HPCBOX, "logs", f"{key}:0,3", "-f"]) as follow:
        assert follow.stdout is not None
        assert follow.stdout.readline().endswith(b"start\n")
        cluster.run(["touch", "go"], check=True)
        rest, errors = follow.communicate(timeout=30)

    assert follow.returncode == 0, errors
    lines = set(rest.splitlines())
    assert {b"[0] end of rank 0", b"[3] end of rank 3"} <= lines
    cluster.wait_idle(timeout_seconds=15)
    ranks = json.loads(hpcbox(cluster, "ps", key, "--json").stdout)["steps"][0]["ranks"]
    assert [(rank["state"], rank["code"]) for rank in ranks] == [("exited", 0)] * 4


def test_following_a_step_ends_when_it_is_cancelled(cluster: Cluster) -> None:
    key = submit(cluster)
    with cluster.start([HPCBOX, "logs", key, "-f"]) as follow:
        assert follow.stdout is not None
        follow.stdout.readline()
        cluster.run(["scancel", key], check=True)

        _, errors = follow.communicate(timeout=40)

    assert (follow.returncode, errors) == (0, b"[2] trouble\n")


def test_an_element_of_an_array_is_found_by_its_key(cluster: Cluster) -> None:
    array = submit(cluster, "--array=5").partition("_")[0]

    done = hpcbox(cluster, "logs", f"{array}_5:1", "--tail", "1")
    cluster.run(["scancel", array], check=True)

    assert done.stdout == "line 3 of rank 1\n", done.stderr

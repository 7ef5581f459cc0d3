"""Launches over ssh on a lab's nodes, as alice on the login host, for the tests of this folder."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.services import launching
from tests.services.install import SEEN_AT

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.services.slurm import Cluster

REG = "10.77.0.1:5000"
MPICH = f"{REG}/mpich:1"
AGENT = "hpcbox.ranks.agent"


def words(cluster: Cluster, command: list[str], **plan: object) -> list[str]:
    """The launcher's command line; four nodes unless the plan says otherwise."""
    fields = {"nodes": cluster.node_names, "image": MPICH, **plan}
    return launching.words(command, python=f"{SEEN_AT}/bin/python3", **fields)


def launch(
    cluster: Cluster,
    command: list[str],
    *,
    stdin: str = "",
    env: dict[str, str] | None = None,
    **plan: object,
) -> subprocess.CompletedProcess[str]:
    """Launch to the end."""
    return cluster.run(words(cluster, command, **plan), input=stdin, env=env, timeout_seconds=90)


@contextmanager
def stalled(cluster: Cluster, **plan: object) -> Iterator[subprocess.Popen[bytes]]:
    """A launch whose eight ranks have all begun and wait for a signal."""
    fields = {"tasks": 8, **plan}
    with cluster.start(words(cluster, ["/opt/mpi/stall"], **fields)) as launcher:
        assert launcher.stdout is not None
        try:
            line = launcher.stdout.readline()
            if line != b"stalled\n":
                launcher.kill()
                raise AssertionError(line + launcher.communicate(timeout=10)[1])
            yield launcher
        finally:
            launcher.kill()


def pids(cluster: Cluster, node: str, *pattern: str) -> list[int]:
    """Pids of a node's processes, as the node sees them; `pattern` is pgrep's."""
    found = cluster.run(["pgrep", *pattern], user="root", node=node).stdout
    return [int(word) for word in found.split()]


def kill(cluster: Cluster, node: str, pid: int, name: str = "KILL") -> None:
    """Send a signal to a process of a node."""
    cluster.run(["kill", f"-{name}", str(pid)], user="root", node=node, check=True)

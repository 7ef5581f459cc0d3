"""One cluster for the tests of a whole job; each test leaves it idle and clean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.services import leftovers
from tests.services.commands import wait_until
from tests.services.slurm import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    """Three nodes with the plugin, for the whole session."""
    with Cluster(nodes=3, name=f"test{os.getpid()}") as cluster:
        # The first step of a node's life makes the empty folder that later ones mount at.
        cluster.run(["srun", "-N3", f"--container={cluster.registry}/static:1", "/static"])
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, found as it was left: idle nodes, no process, mount or file of a step."""
    before = leftovers.cluster_snapshot(running_cluster)
    yield running_cluster
    running_cluster.run(["scancel", "--user=alice"], user="alice")
    running_cluster.wait_idle(timeout_seconds=15)
    wait_until(
        lambda: leftovers.difference(before, leftovers.cluster_snapshot(running_cluster)) == "",
        timeout_seconds=10,
        what=lambda: (
            "nothing of the test's steps is left on the nodes: "
            + leftovers.difference(before, leftovers.cluster_snapshot(running_cluster))
        ),
    )

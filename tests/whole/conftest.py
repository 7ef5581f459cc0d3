"""One cluster for the tests of a whole job; each test leaves it idle and clean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.services import leftovers
from tests.services import odd_registry as odd_registry_service
from tests.services.commands import wait_until
from tests.services.slurm import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    """Three nodes with the plugin, for the whole session."""
    with Cluster(nodes=3, name=f"test{os.getpid()}") as cluster:
        # What a node gets once: the empty folder that containers are mounted at, mount(8)'s table.
        for node in cluster.node_names:
            cluster.run(["mkdir", "-p", "/run/mount"], user="root", node=node, check=True)
        cluster.run(["srun", "-N3", f"--container={cluster.registry}/static:1", "/static"])
        wait_until(
            lambda: "slurmstepd: [" not in repr(leftovers.cluster_snapshot(cluster)),
            timeout_seconds=15,
            what="the first step has left its nodes",
        )
        yield cluster


@pytest.fixture(scope="session")
def odd_registry(running_cluster: Cluster) -> Iterator[str]:
    """HOST:PORT of a registry whose images are wrong, each in its own way."""
    with odd_registry_service.serving(running_cluster) as address:
        yield address


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

"""A small cluster without hpcbox, and the client that runs its commands."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hpcbox.cluster.commands import CommandClient
from tests.services import slurm_commands
from tests.services.commands import wait_until
from tests.services.slurm import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def plain_cluster() -> Iterator[Cluster]:
    """Two nodes, no plugin, for the session."""
    with Cluster(nodes=2, name=f"ask{os.getpid()}", plugin=False, with_images=False) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def alice_path(plain_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Slurm's commands, run as alice."""
    return slurm_commands.install(plain_cluster, tmp_path_factory.mktemp("alice"), user="alice")


@pytest.fixture
def alice(alice_path: Path, plain_cluster: Cluster) -> Iterator[CommandClient]:
    """The client as alice has it; the queue is empty afterwards."""
    yield CommandClient(environment={**os.environ, "PATH": f"{alice_path}:{os.environ['PATH']}"})
    plain_cluster.run(["scancel", "--user=alice"], check=True)
    wait_until(
        lambda: plain_cluster.run(["squeue", "-h"], check=True).stdout == "",
        timeout_seconds=20,
        what="the queue is empty",
    )

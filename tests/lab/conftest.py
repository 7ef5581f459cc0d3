"""One plain cluster for the tests that only use a lab; those about its life start their own."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.services.slurm import Cluster
from tests.services.spec import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="package")
def plain_cluster() -> Iterator[Cluster]:
    """Three nodes of plain Slurm: these tests are about the lab, not about hpcbox."""
    with Cluster(nodes=3, name=f"use{os.getpid()}", plugin=False) as cluster:
        yield cluster


@pytest.fixture
def lab() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ./lab as a person would."""

    def run(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [os.fspath(REPOSITORY / "lab"), *words],
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run

"""How a lab comes and goes, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.services import leftovers
from tests.services.commands import wait_until
from tests.services.failure import LabError
from tests.services.lifetime import first_process
from tests.services.slurm import Cluster
from tests.services.spec import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.leftovers import Snapshot

pytestmark = pytest.mark.lab

START_BUDGET_SECONDS = 5
DATABASE_START_BUDGET_SECONDS = 10

# A program that starts a lab and would never end it by itself.
OWNER = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.services.slurm import Cluster
Cluster(nodes=1, name=sys.argv[2], plugin=False).up(end_with_caller=True)
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def name() -> Iterator[str]:
    """An id of its own, ended whatever the test does."""
    yield (chosen := f"life{os.getpid()}")
    Cluster(name=chosen).down()


def listing(name: str) -> Snapshot:
    return leftovers.snapshot().concerning(name)


def wait_for_the_same(before: Snapshot, name: str) -> None:
    """The kernel takes namespaces apart after their last process: what goes on must end soon."""
    wait_until(
        lambda: leftovers.difference(before, listing(name)) == "",
        timeout_seconds=10,
        what=lambda: f"nothing is left: {leftovers.difference(before, listing(name))}",
    )


def test_a_lab_leaves_nothing_behind(name: str) -> None:
    before = listing(name)

    with Cluster(nodes=3, name=name, plugin=False) as cluster:
        during = listing(name)
        cluster.run(
            ["srun", "-N3", "sh", "-c", "touch /tmp/a /dev/shm/b /srv/shared/c"], check=True
        )

    assert f"process {os.getpid()}" not in str(during)
    assert "slurmd -N n3" in str(during)
    wait_for_the_same(before, name)


def test_a_lab_whose_first_process_was_killed_is_swept_by_down(name: str) -> None:
    before = listing(name)
    cluster = Cluster(nodes=3, name=name, plugin=False)
    cluster.up()
    job = cluster.start(["srun", "-N3", "sleep", "100"])

    os.kill(cluster.first_pid(), signal.SIGKILL)
    cluster.down()
    job.communicate(timeout=10)

    wait_for_the_same(before, name)


def test_a_lab_whose_first_process_was_killed_is_replaced_by_up(name: str) -> None:
    Cluster(nodes=2, name=name, plugin=False).up()
    killed = first_process(name)
    assert killed is not None

    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: first_process(name) is None, timeout_seconds=5, what="the lab is dead")

    with Cluster(nodes=1, name=name, plugin=False) as cluster:
        assert cluster.idle_nodes() == {"n1"}


def test_a_lab_is_up_within_its_budget(name: str) -> None:
    started = time.monotonic()

    with Cluster(nodes=3, name=name, plugin=False):
        assert time.monotonic() - started < START_BUDGET_SECONDS


def test_a_lab_with_accounting_is_up_within_its_budget(name: str) -> None:
    started = time.monotonic()

    with Cluster(nodes=3, name=name, plugin=False, database=True) as cluster:
        assert time.monotonic() - started < DATABASE_START_BUDGET_SECONDS
        clusters = cluster.run(["sacctmgr", "--noheader", "show", "cluster", "format=cluster%30"])
        assert clusters.stdout.strip() == name


def test_a_lab_that_is_up_is_not_started_again(name: str) -> None:
    with Cluster(nodes=1, name=name, plugin=False), pytest.raises(LabError, match="is up already"):
        Cluster(nodes=1, name=name, plugin=False).up()


def test_two_labs_live_side_by_side(name: str, plain_cluster: Cluster) -> None:
    with Cluster(nodes=2, name=name, plugin=False) as other:
        other.run(["touch", "/srv/shared/mine"], check=True)

        assert set(other.run(["srun", "-N2", "hostname"]).stdout.split()) == {"n1", "n2"}
        assert plain_cluster.run(["ls", "/srv/shared"]).stdout == ""

    assert plain_cluster.idle_nodes() == {"n1", "n2", "n3"}


def test_a_lab_ends_with_the_program_that_started_it(name: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, os.fspath(REPOSITORY), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"

        owner.kill()

    wait_until(lambda: first_process(name) is None, timeout_seconds=5, what="the lab has ended")


def test_a_lab_that_fails_to_start_says_why_and_leaves_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = listing(name)
    cluster = Cluster(nodes=1, name=name, plugin=False)
    monkeypatch.setattr(
        "tests.services.slurm.BOOT", "import os, sys; os.write(int(sys.argv[3]), b'no luck')"
    )

    with pytest.raises(LabError, match="no luck"):
        cluster.up()

    wait_for_the_same(before, name)

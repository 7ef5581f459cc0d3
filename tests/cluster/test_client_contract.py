"""What every client of Slurm does: the one of commands on a real cluster, and the fake one."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Protocol

import pytest

from hpcbox.cluster.client import SlurmClient, Wanted
from hpcbox.cluster.fake import FakeClient
from hpcbox.cluster.model import Job
from hpcbox.errors import NoAllocation, RequestError

if TYPE_CHECKING:
    from hpcbox.cluster.commands import CommandClient
    from tests.services.slurm import Cluster

ALICE = Wanted(user="alice")


class World(Protocol):
    """A client, and a way to put jobs of alice, held, into its queue."""

    @property
    def client(self) -> SlurmClient:
        """Who answers."""

    def submit(self, name: str, *, array: int = 0, container: str = "") -> str:
        """Submit a held job of five minutes, or an array; return its id."""


@dataclasses.dataclass
class RealWorld:
    """A real cluster."""

    client: CommandClient
    cluster: Cluster

    def submit(self, name: str, *, array: int = 0, container: str = "") -> str:
        """Submit by sbatch."""
        words = ["sbatch", "--parsable", "--hold", f"--job-name={name}", "--time=5"]
        words += [f"--array=1-{array}"] if array else []
        words += [f"--container={container}"] if container else []
        done = self.cluster.run([*words, "--wrap=sleep 100"], check=True)
        return done.stdout.strip()


class FakeWorld:
    """A queue in memory."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self._ids = itertools.count(1)

    def submit(self, name: str, *, array: int = 0, container: str = "") -> str:
        """Add a line."""
        number = next(self._ids)
        key = f"{number}_[1-{array}]" if array else str(number)
        self.client.lines[key] = Job(
            key=key, job_id=number, name=name, user="alice", account="", partition="debug",
            qos="", state="PENDING", reason="JobHeldUser", elapsed_seconds=0,
            limit_seconds=300, nodes=1,
            cpus=1, tasks=array or 1, node_list="", submitted=1, started=None,
            container=container,
        )  # fmt: skip
        return str(number)


@pytest.fixture(params=["commands", "fake"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        return FakeWorld()
    return RealWorld(request.getfixturevalue("alice"), request.getfixturevalue("plain_cluster"))


def test_a_held_job_is_in_its_users_queue_and_in_no_other(world: World) -> None:
    key = world.submit("train", container="docker://site/x:1")

    (job,) = world.client.queue(ALICE).jobs

    assert (job.key, job.job_id, job.name, job.user) == (key, int(key), "train", "alice")
    assert (job.state, job.reason, job.partition) == ("PENDING", "JobHeldUser", "debug")
    assert (job.container, job.limit_seconds, job.tasks) == ("docker://site/x:1", 300, 1)
    assert (job.node_list, job.started, job.qos) == ("", None, "")
    assert job.submitted is not None
    assert world.client.queue(Wanted(user="root")).jobs == ()


def test_the_queue_can_be_narrowed_by_state_partition_and_id(world: World) -> None:
    first, second = world.submit("a"), world.submit("b")

    def keys(wanted: Wanted) -> set[str]:
        return {job.key for job in world.client.queue(wanted).jobs}

    assert keys(Wanted()) == {first, second}
    assert keys(Wanted(jobs=(second,))) == {second}
    assert keys(Wanted(jobs=(second, "999999"))) == {second}
    assert keys(Wanted(jobs=("999999",))) == set()
    assert keys(Wanted(states=("PENDING",), partitions=("debug",))) == {first, second}
    assert keys(Wanted(states=("RUNNING",))) == set()


def test_an_array_that_waits_is_one_line_for_many_jobs(world: World) -> None:
    key = world.submit("sweep", array=30)

    (job,) = world.client.queue(ALICE).jobs

    assert (job.key, job.job_id, job.tasks) == (f"{key}_[1-30]", int(key), 30)
    assert world.client.detail(key).job == job
    assert world.client.detail(job.key).job == job


def test_the_queue_names_its_cluster_and_the_user(world: World) -> None:
    queue = world.client.queue(ALICE)

    assert queue.cluster == world.client.cluster() != ""
    assert (queue.user, queue.skipped) == ("alice", 0)


def test_an_unknown_job_has_no_detail(world: World) -> None:
    with pytest.raises(NoAllocation, match="999999"):
        world.client.detail("999999")


def test_cancel_takes_the_jobs_that_are_named_and_no_other(world: World) -> None:
    first, second, third = world.submit("a"), world.submit("b"), world.submit("c")

    result = world.client.cancel([first, "999999", third])

    assert (result.sent, result.gone) == ((first, third), ("999999",))
    assert [job.key for job in world.client.queue(ALICE).jobs] == [second]


def test_a_job_that_was_cancelled_before_is_said_to_be_gone(world: World) -> None:
    key = world.submit("a")
    world.client.cancel([key])

    assert world.client.cancel([key]).gone == (key,)
    assert world.client.detail(key).job.state == "CANCELLED"


def test_the_folded_rest_of_an_array_is_cancelled_by_its_key(world: World) -> None:
    world.submit("sweep", array=5)
    (job,) = world.client.queue(ALICE).jobs

    assert world.client.cancel_command([job.key]) == ["scancel", job.key]
    assert world.client.cancel([job.key]).gone == ()
    assert world.client.queue(ALICE).jobs == ()


@pytest.mark.parametrize("key", ["", "-u", "--user=alice", "1 2", "1;2", "0", "1_", "1\n2", "1.0"])
def test_what_is_no_job_id_never_reaches_a_command(world: World, key: str) -> None:
    with pytest.raises(RequestError):
        world.client.cancel([key])
    with pytest.raises(RequestError):
        world.client.detail(key)

"""The client of Slurm's commands: odd names, log files, steps, and commands that misbehave."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from hpcbox.cluster.client import Wanted
from hpcbox.cluster.commands import CommandClient
from hpcbox.errors import ClusterError, SlurmUnavailable
from tests.services.commands import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.slurm import Cluster

ALICE = Wanted(user="alice")


def submit(cluster: Cluster, *options: str, script: str = "sleep 100", user: str = "alice") -> str:
    done = cluster.run(
        ["sbatch", "--parsable", *options, f"--wrap={script}"], user=user, check=True
    )
    return done.stdout.strip()


def stand_in(folder: Path, name: str, script: str) -> CommandClient:
    """A client that finds this script in place of a command of Slurm's."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)
    variables = {"PATH": f"{folder}:/bin:/usr/bin", "SLURM_CLUSTER_NAME": "lab"}
    return CommandClient(environment=variables, timeout_seconds=0.5)


@pytest.mark.lab
def test_a_name_with_newlines_and_bars_is_one_name(
    alice: CommandClient, plain_cluster: Cluster
) -> None:
    name = "a|b\n99 root debug\x1f RUNNING \x1b[31mé$(id) %s StdOut=/etc/passwd"
    key = submit(plain_cluster, "--hold", f"--job-name={name}")

    (job,) = alice.queue(ALICE).jobs
    detail = alice.detail(key)

    assert (job.key, job.name) == (key, name)
    assert detail.stdout == f"/home/alice/slurm-{key}.out"


@pytest.mark.lab
def test_variables_of_the_user_do_not_change_the_query(
    alice: CommandClient, alice_path: Path, plain_cluster: Cluster
) -> None:
    del alice
    submit(plain_cluster, "--hold")
    variables = {**os.environ, "PATH": f"{alice_path}:/bin", "SQUEUE_STATES": "RUNNING"}

    assert len(CommandClient(environment=variables).queue(ALICE).jobs) == 1


@pytest.mark.lab
def test_log_files_are_found_where_slurm_writes_them(
    alice: CommandClient, plain_cluster: Cluster
) -> None:
    plain_cluster.run(["mkdir", "-p", "logs"], check=True)
    single = submit(plain_cluster, "--output=logs/%x-%j-%N-%n-%t-%u.out", "-Jmy job")
    array = submit(plain_cluster, "--array=3-4", script="echo here; sleep 100")
    named = submit(
        plain_cluster, "--array=7", "--output=/home/alice/logs/%A-%4a.o", "--error=logs/%a.e"
    )

    def written(key: str) -> bool:
        path = alice.detail(key).stdout
        return plain_cluster.run(["test", "-f", path]).returncode == 0

    for key in (single, f"{array}_3", f"{array}_4", f"{named}_7"):
        wait_until(
            partial(written, key),
            timeout_seconds=20,
            what=f"{alice.detail(key).stdout} of {key} is there",
        )
    detail = alice.detail(f"{named}_7")
    assert detail.stderr == "/home/alice/logs/7.e"
    assert detail.number != int(named) or detail.job.key == f"{named}_7"
    plain_cluster.run(["rm", "-r", "logs"], check=True)


@pytest.mark.lab
def test_a_running_job_tells_its_times_nodes_amounts_and_steps(
    alice: CommandClient, plain_cluster: Cluster
) -> None:
    before = int(time.time()) - 1
    key = submit(
        plain_cluster, "-N2", "-n2", "--time=1-00:00", "--chdir=/tmp", "--container=docker://x:1",
        script="srun --job-name='odd | name' -n2 sleep 100",
    )  # fmt: skip
    wait_until(lambda: len(alice.detail(key).steps) == 2, timeout_seconds=20, what="the step runs")

    detail = alice.detail(key)

    assert (detail.job.state, detail.job.node_list) == ("RUNNING", "n[1-2]")
    assert (detail.job.limit_seconds, detail.work_dir) == (86400, "/tmp")
    assert detail.job.started is not None
    assert before <= detail.job.started <= time.time() + 1
    assert dict(detail.asked)["cpu"] == "2"
    assert (detail.container, str(detail.number)) == ("docker://x:1", key)
    step = next(step for step in detail.steps if step.key == f"{key}.0")
    assert (step.name, step.state, step.tasks, step.nodes) == ("odd | name", "RUNNING", 2, 2)


@pytest.mark.lab
def test_another_users_job_is_not_cancelled(alice: CommandClient, plain_cluster: Cluster) -> None:
    own, other = submit(plain_cluster, "--hold"), submit(plain_cluster, "--hold", user="bob")

    with pytest.raises(ClusterError, match=f"job {other}: .*denied"):
        alice.cancel([own, other])

    assert [job.key for job in alice.queue(Wanted()).jobs] == [other]
    plain_cluster.run(["scancel", other], user="bob", check=True)


@pytest.mark.lab
def test_an_account_that_does_not_exist_is_an_error_in_slurms_words(alice: CommandClient) -> None:
    with pytest.raises(SlurmUnavailable, match="Invalid user"):
        alice.queue(Wanted(user="nobodyhere"))


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    client = stand_in(tmp_path, "squeue", f"sleep 600 & echo $! > {tmp_path}/pid; wait")

    with pytest.raises(SlurmUnavailable, match="no answer within"):
        client.queue(Wanted())

    pid = (tmp_path / "pid").read_text().strip()
    wait_until(
        lambda: not os.path.exists(f"/proc/{pid}/cwd"),
        timeout_seconds=5,
        what="the command's child has ended",
    )


def test_a_command_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    client = stand_in(
        tmp_path, "squeue", "printf 'slurm_load_jobs error: \\033[2J no\\nmore\\n' >&2; exit 1"
    )

    with pytest.raises(SlurmUnavailable) as caught:
        client.queue(Wanted())

    assert str(caught.value) == "squeue: slurm_load_jobs error: \\x1b[2J no"


def test_a_command_that_ends_by_a_signal_is_an_error(tmp_path: Path) -> None:
    client = stand_in(tmp_path, "squeue", "kill -9 $$")

    with pytest.raises(SlurmUnavailable, match="status -9"):
        client.queue(Wanted())


def test_without_slurm_the_hint_says_so(tmp_path: Path) -> None:
    client = CommandClient(environment={"PATH": str(tmp_path), "SLURM_CLUSTER_NAME": "x"})

    with pytest.raises(SlurmUnavailable, match="is Slurm installed"):
        client.queue(Wanted())


def test_nonsense_from_squeue_is_an_empty_queue(tmp_path: Path) -> None:
    client = stand_in(tmp_path, "squeue", "head -c 100000 /dev/urandom")

    assert client.queue(Wanted()).jobs == ()


def test_a_query_that_fails_midway_leaves_nothing_to_the_next_one(tmp_path: Path) -> None:
    # Every field is "1"; the first call fails after it has printed a job.
    one_job = "s/--Format=//; s/[A-Za-z]*:\\([^,]*\\),*/1\\1/g"
    client = stand_in(
        tmp_path,
        "squeue",
        f"""for word; do case $word in --Format=*) echo "$word" | sed '{one_job}';; esac; done
        test -e {tmp_path}/again || {{ touch {tmp_path}/again; exit 1; }}""",
    )

    with pytest.raises(SlurmUnavailable):
        client.queue(ALICE)

    assert [job.key for job in client.queue(ALICE).jobs] == ["1"]


def test_scancel_without_a_reason_is_an_error(tmp_path: Path) -> None:
    client = stand_in(tmp_path, "scancel", "echo scancel: error: no controller >&2; exit 1")

    with pytest.raises(SlurmUnavailable, match="no controller"):
        client.cancel(["12"])

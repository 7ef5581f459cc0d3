"""`hpcbox ps` and `hpcbox logs` against a real queue, as alice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hpcbox.cluster.client import Wanted
from tests.services.commands import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from hpcbox.cluster.commands import CommandClient
    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab


@pytest.fixture
def env(alice_path: Path, tmp_path: Path) -> dict[str, str]:
    variables = {"HOME": str(tmp_path), "PYTHONPATH": os.getcwd(), "LANG": "C.UTF-8"}
    return {**variables, "PATH": f"{alice_path}:{os.environ['PATH']}"}


def hpcbox(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpcbox", *words], env=env, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip


def test_a_users_jobs_are_listed_and_one_is_shown_with_its_steps(
    alice: CommandClient, plain_cluster: Cluster, env: dict[str, str]
) -> None:
    words = ["sbatch", "--parsable", "-N2", "--container=docker://x:1", "--time=10"]
    key = plain_cluster.run([*words, "-Jtrain", "--wrap=srun sleep 99"], check=True).stdout.strip()
    plain_cluster.run(["sbatch", "--hold", "--array=1-9", "--wrap=true"], check=True)
    wait_until(lambda: len(alice.detail(key).steps) == 2, timeout_seconds=20, what="it runs")

    listed = hpcbox(env, "ps", "--user=alice")
    shown = hpcbox(env, "ps", key).stdout
    everything = json.loads(hpcbox(env, "ps", key, "--json").stdout)

    assert listed.returncode == 0, listed.stderr
    rows = [line.split() for line in listed.stdout.splitlines()]
    running = next(row for row in rows if row[0] == key)
    assert (running[1:3], running[4:]) == (
        *(["train", "RUNNING"], ["2", "docker://x:1", "n[1-2]"]),
    )
    assert any(row[1:4] == ["(9)", "wrap", "PENDING"] for row in rows)
    assert f"step    {key}.0  sleep  RUNNING" in shown
    assert "cpu 2" in shown
    assert everything["job"]["job"]["name"] == "train"
    assert [job.key for job in alice.queue(Wanted(user="alice", states=("RUNNING",))).jobs] == [key]


def test_a_job_without_ranks_output_shows_its_batch_log(
    plain_cluster: Cluster, env: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("from the script\n", encoding="utf-8")
    # The lab's machines have file systems of their own; this machine stands for the login host.
    words = ["sbatch", "--parsable", "--hold", f"--output={log}", "--wrap=true"]
    key = plain_cluster.run(words, check=True).stdout.strip()
    plain_cluster.run(["scancel", key], check=True)

    done = hpcbox(env, "logs", key)
    followed = hpcbox(env, "logs", f"{key}.batch", "-f", "--grep", "script", "--json")

    assert (done.returncode, done.stdout) == (0, "from the script\n"), done.stderr
    assert json.loads(followed.stdout)["rank"] is None


def test_a_job_that_never_was_is_one_line(env: dict[str, str], alice: CommandClient) -> None:
    del alice
    for verb in ("ps", "logs"):
        done = hpcbox(env, verb, "999999")

        assert (done.returncode, done.stderr.count("\n")) == (64, 1)
        assert "there is no job 999999" in done.stderr

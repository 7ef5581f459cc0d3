"""`hpcbox ps` as a process: what it loads, tables, and a job that is on disk only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hpcbox.cli import table
from hpcbox.ranks.layout import ERR
from tests.services.step_folder import StepFolder

if TYPE_CHECKING:
    from pathlib import Path

SQUEUE = """#!/usr/bin/python3
import sys
fields = next(w for w in sys.argv if w.startswith("--Format=")).removeprefix("--Format=")
values = {"JobArrayID": "12_[3-9%2]", "UserName": "alice", "State": "PENDING", "Container": "x:1",
          "Reason": "Priority", "TimeUsed": "1:02:03", "NumNodes": "4", "Name": "世\\x1b[2Jn\\n|"}
for field in fields.split(","):
    name, _, suffix = field.partition(":")
    sys.stdout.write(values.get(name, "") + suffix)
print()
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and a squeue that has one job."""
    squeue = tmp_path / "squeue"
    squeue.write_text(SQUEUE, encoding="utf-8")
    squeue.chmod(0o755)
    variables = {"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    return {**variables, "SLURM_CLUSTER_NAME": "lab", "LANG": "C.UTF-8"}


def ps(
    env: dict[str, str], *words: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpcbox", "ps", *words], cwd=cwd, env=env, capture_output=True,
        text=True, check=False, timeout=30,
    )  # fmt: skip


def test_the_queue_is_a_table_without_control_characters(env: dict[str, str]) -> None:
    done = ps(env)

    assert done.returncode == 0, done.stderr
    heading, line = done.stdout.splitlines()
    assert heading.split() == [
        "JOB",
        "NAME",
        "STATE",
        "TIME",
        "NODES",
        "IMAGE",
        "WHERE",
        "OR",
        "WHY",
    ]
    assert line.split() == [
        *("12_[3-9]", "(7)", "世\\x1b[2Jn\\n|", "PENDING", "1:02:03", "4", "x:1", "(Priority)"),
    ]


def test_json_has_all_fields_as_they_are(env: dict[str, str]) -> None:
    (job,) = json.loads(ps(env, "--json").stdout)

    assert (job["key"], job["tasks"], job["elapsed_seconds"]) == ("12_[3-9]", 7, 3723)
    assert (job["name"], job["container"], job["started"]) == ("世\x1b[2Jn\n|", "x:1", None)


def test_a_job_that_slurm_has_forgotten_is_shown_from_its_folder(
    env: dict[str, str], tmp_path: Path
) -> None:
    step = StepFolder(tmp_path / "work", job="77")
    step.event("n1", "node", state="ready", text="8 layers")
    step.event("n2", "problem", text="the disk is full")
    step.write(0, b"x" * 1500)
    step.write(1, b"error\n", ERR)
    step.event("n1", "rank", rank=2, state="exited", signal=11)
    step.event("n2", "rank", rank=3, state="exited", code=0)
    (tmp_path / "squeue").write_text("#!/bin/sh\n", encoding="utf-8")

    done = ps(env, "77", cwd=tmp_path / "work")

    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "step 77.0 ./train --fast site/train:1"
    assert "the disk is full" in lines
    assert "n1 ready 8 layers" in lines
    assert "2 n1 exited, signal 11 0 B 0 B -" in lines
    assert "3 n2 exited, code 0 0 B 0 B -" in lines
    assert any(line.startswith("0 - started 1.5 KB 0 B") for line in lines)
    shown = json.loads(ps(env, "77", "--json", cwd=tmp_path / "work").stdout)
    assert shown["job"] is None
    assert shown["steps"][0]["ranks"][2]["signal"] == 11


def test_without_slurm_there_is_one_line(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "squeue").unlink()

    done = ps(env)

    assert (done.returncode, done.stderr.count("\n")) == (69, 1)
    assert "is Slurm installed" in done.stderr


@pytest.mark.parametrize("verb", ["ps", "logs"])
def test_nothing_heavy_is_loaded(verb: str, env: dict[str, str]) -> None:
    heavy = {"textual", "rich", "asyncio", "asyncssh", "urllib3", "docker", "ssl", "ctypes"}
    script = (
        "import sys\nfrom hpcbox.cli.main import main\n"
        f"main([{verb!r}, '12'] if {verb!r} == 'logs' else ['ps'])\nprint(*sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True,
        timeout=30,
    )  # fmt: skip

    loaded = set(done.stdout.split())
    assert "hpcbox.ranks.reader" in loaded
    assert not loaded & heavy


def test_wide_characters_take_two_cells_and_combining_ones_none() -> None:
    rows = [("A", "B"), ("世界", "x"), ("é", "y"), ("", "z")]

    assert [table.cells(text) for text, _ in rows[1:]] == [4, 1, 0]
    assert list(table.lines(rows)) == ["A     B", "世界  x", "é     y", "-     z"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7, "0:07"), (3723.9, "1:02:03"), (86400, "1-00:00:00"), (0, "0:00"), (59.9, "0:59")],
)
def test_durations_are_written_as_squeue_does(seconds: float, text: str) -> None:
    assert table.clock(seconds) == text

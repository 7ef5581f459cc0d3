"""Launching on this machine, without ssh, Slurm or a container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.services import launching
from tests.services.commands import wait_until
from tests.services.spec import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

SHOW = "echo rank $RANK of $WORLD_SIZE, local $LOCAL_RANK, slurm $SLURM_PROCID/$SLURM_NTASKS"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(command: list[str], **plan: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        launching.words(
            command, python=sys.executable, transport="local", **{"mpi": "env", **plan}
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def launch(
    command: list[str], *, stdin: bytes = b"", **plan: object
) -> subprocess.CompletedProcess[bytes]:
    with start(command, **plan) as process:
        out, err = process.communicate(stdin, timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.usefixtures("folder")
def test_ranks_know_their_place_and_all_is_printed() -> None:
    done = launch(["sh", "-c", SHOW], tasks=3)

    assert sorted(done.stdout.decode().splitlines()) == [
        f"rank {rank} of 3, local {rank}, slurm {rank}/3" for rank in range(3)
    ], done.stderr
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_ranks_write_is_kept_and_described(folder: Path) -> None:
    launch(["sh", "-c", "echo out $RANK; echo err $RANK >&2"], tasks=2, cluster="c", user="u")

    kept = folder / "hpcbox-7.ssh0"
    assert (kept / "rank-00001.out").read_text() == "out 1\n"
    assert (kept / "rank-00000.err").read_text() == "err 0\n"
    step = json.loads((kept / "step.json").read_text())
    assert (step["tasks"], step["launcher"], step["node_list"]) == (2, "local", "n1")
    events = [json.loads(line) for line in (kept / "node-n1.jsonl").read_text().splitlines()]
    states = [event.get("state") for event in events]
    assert states[0] == "preparing"
    assert states[-1] == "ended"
    assert states.count("started") == states.count("exited") == 2
    assert (folder / ".local/state/hpcbox/c/7.ssh0").resolve() == kept


@pytest.mark.usefixtures("folder")
def test_the_first_failure_ends_all_ranks_and_is_named_with_its_last_lines() -> None:
    script = 'if [ $RANK = 1 ]; then echo "no such grid" >&2; exit 7; fi; exec sleep 1000'

    done = launch(["sh", "-c", script], tasks=3)

    assert done.returncode == 7
    lines = done.stderr.decode().splitlines()
    assert "hpcbox: rank 1 on n1 ended with exit code 7" in lines
    assert "hpcbox:   | no such grid" in lines


@pytest.mark.usefixtures("folder")
def test_a_rank_killed_by_a_signal_gives_128_and_its_number() -> None:
    done = launch(["sh", "-c", "[ $RANK = 0 ] || kill -SEGV $$; exec sleep 1000"], tasks=2)

    assert done.returncode == 128 + signal.SIGSEGV
    assert b"rank 1 on n1 was killed by signal 11" in done.stderr


@pytest.mark.usefixtures("folder")
def test_a_command_that_does_not_exist_is_127_and_said_once_a_rank() -> None:
    done = launch(["no-such-program"], tasks=2)

    assert done.returncode == 127
    assert b"no-such-program: not found on" in done.stderr


@pytest.mark.usefixtures("folder")
def test_stdin_goes_to_rank_0_whole() -> None:
    block = os.urandom(3_000_000)

    done = launch(["sh", "-c", "cat"], stdin=block, tasks=2)

    assert done.stdout == block


@pytest.mark.usefixtures("folder")
def test_labelled_lines_are_whole() -> None:
    done = launch(
        ["sh", "-c", "for i in 1 2 3; do echo $i; done; printf end"], tasks=11, label=True
    )

    lines = done.stdout.decode().splitlines()
    assert sorted(lines) == sorted(
        f"{rank:>2}: {text}" for rank in range(11) for text in ("1", "2", "3", "end")
    )


def test_output_goes_to_files_by_srun_s_patterns(folder: Path) -> None:
    done = launch(["sh", "-c", "echo $RANK"], tasks=2, output="o-%j-%3t-%N.txt")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (folder / "o-7-001-n1.txt").read_text() == "1\n"


def test_output_none_is_kept_but_not_shown(folder: Path) -> None:
    done = launch(["sh", "-c", "echo $RANK"], tasks=2, output="none")

    assert (done.returncode, done.stdout) == (0, b"")
    assert (folder / "hpcbox-7.ssh0/rank-00001.out").read_text() == "1\n"


@pytest.mark.usefixtures("folder")
def test_much_output_of_several_ranks_arrives_whole() -> None:
    script = "head -c 20000000 /dev/zero | tr '\\0' x"

    done = launch(["sh", "-c", script], tasks=3)

    assert len(done.stdout) == 60_000_000


def test_a_reader_that_comes_when_all_is_over_gets_everything(folder: Path) -> None:
    with start(["head", "-c", "3000000", "/dev/zero"], tasks=2) as process:
        rank_files = [folder / f"hpcbox-7.ssh0/rank-{rank:05}.out" for rank in (0, 1)]
        wait_until(
            lambda: all(file.exists() and file.stat().st_size == 3_000_000 for file in rank_files),
            timeout_seconds=10,
            what="ranks have written everything, though nobody reads",
        )

        out, err = process.communicate(timeout=20)

    assert (len(out), err) == (6_000_000, b"")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_ranks_that_ignore_it(times: int) -> None:
    script = "trap '' INT; echo here; while :; do sleep 1; done"
    with start(["sh", "-c", script], tasks=1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"

        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"Ctrl-C again" in process.stderr.readline()
        if times > 1:
            process.send_signal(signal.SIGINT)

        process.communicate(timeout=20)
    assert process.returncode == 130


@pytest.mark.usefixtures("folder")
def test_ctrl_c_reaches_a_rank_that_wants_to_tidy_up() -> None:
    script = "trap 'echo tidy; exit 0' INT; echo here; while :; do sleep 0.1; done"
    with start(["sh", "-c", script], tasks=1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"

        process.send_signal(signal.SIGINT)

        out, _ = process.communicate(timeout=20)
    assert out == b"tidy\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_launcher_is_killed(folder: Path, number: int) -> None:
    script = "echo $$ >pid-$RANK; setsid sleep 1000 & echo $! >child-$RANK; wait"
    files = [folder / f"{name}-{rank}" for name in ("pid", "child") for rank in (0, 1)]
    with start(["sh", "-c", script], tasks=2) as process:
        wait_until(
            lambda: all(file.exists() and file.read_text() for file in files),
            timeout_seconds=10,
            what="ranks run",
        )

        process.send_signal(number)

        process.communicate(timeout=20)
    pids = [int(file.read_text()) for file in files]
    wait_until(
        lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids),
        timeout_seconds=10,
        what="all are gone",
    )


@pytest.mark.usefixtures("folder")
def test_a_time_limit_ends_the_ranks() -> None:
    done = launch(["sleep", "1000"], tasks=2, time_limit_seconds=1)

    assert done.returncode == 125
    assert b"time limit" in done.stderr

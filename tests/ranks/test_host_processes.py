"""Processes below the keeper: started, reported, and ended with all their descendants."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hpcbox import kernel
from hpcbox.ranks.host_processes import Exited, HostProcesses, NotStarted, Started
from tests.services.commands import wait_until
from tests.services.spec import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def run(processes: HostProcesses, *argv: str, cwd: str = "/") -> tuple[int, str, int]:
    """Run one program to its end; return its code, output and reason."""
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    processes.spawn(7, list(argv), ENVIRONMENT, cwd, (null, writer, writer))
    os.close(writer)
    os.close(null)
    first = processes.receive()
    if isinstance(first, NotStarted):
        os.close(reader)
        return first.code, first.text, 0
    assert isinstance(first, Started)
    with os.fdopen(reader) as file:
        text = file.read()
    second = processes.receive()
    assert isinstance(second, Exited)
    assert second.key == 7
    return second.code, text, first.pid


@pytest.fixture
def processes() -> Iterator[HostProcesses]:
    processes = HostProcesses("n1")
    yield processes
    processes.close()
    os.wait()
    kernel.prctl(PR_SET_CHILD_SUBREAPER, 0)


def test_a_program_gets_its_arguments_and_its_code_comes_back(processes: HostProcesses) -> None:
    code, text, _ = run(processes, "sh", "-c", 'echo "$1"; pwd; exit 7', "sh", "a b", cwd="/usr")

    assert (code, text) == (7, "a b\n/usr\n")


def test_a_program_killed_by_a_signal_has_128_and_its_number(processes: HostProcesses) -> None:
    assert run(processes, "sh", "-c", "kill -9 $$")[0] == 137


def test_a_broken_pipe_ends_a_program_as_it_does_in_a_shell(processes: HostProcesses) -> None:
    assert run(processes, "sh", "-c", "kill -PIPE $$")[0] == 141


@pytest.mark.parametrize(
    ("argv", "cwd", "expected"),
    [
        (["no-such-program"], "/", (127, "no-such-program: not found on n1 (PATH=/usr/bin:/bin)")),
        (["/no/such"], "/", (127, "/no/such: not found on n1")),
        (["/etc/passwd"], "/", (126, "/etc/passwd: Permission denied")),
        (
            ["true"],
            "/no/folder",
            (125, "cannot change to the working directory: No such file or directory"),
        ),
    ],
)
def test_what_can_not_be_started_says_why(
    processes: HostProcesses, argv: list[str], cwd: str, expected: tuple[int, str]
) -> None:
    assert run(processes, *argv, cwd=cwd)[:2] == expected


AGENT = """
import os, sys
sys.path.insert(0, {repository!r})
from hpcbox.ranks.host_processes import HostProcesses
processes = HostProcesses("n1")
null = os.open(os.devnull, os.O_RDWR)
# A daemon: its parent ends at once, its session is its own.
script = "setsid sh -c 'echo $$ >{folder}/daemon; exec sleep 1000' & echo $$ >{folder}/rank; wait"
processes.spawn(0, ["sh", "-c", script], {{"PATH": "/usr/bin:/bin"}}, "/", (null, null, null))
processes.receive()
keeper = open("/proc/self/task/%d/children" % os.getpid()).read()
print(keeper.strip(), flush=True)
while True:
    {then}
"""


@pytest.mark.parametrize(
    ("then", "number"),
    [
        ("processes.tick(); __import__('time').sleep(0.1)", signal.SIGKILL),
        ("__import__('time').sleep(1)", signal.SIGSTOP),
    ],
    ids=["killed", "stopped"],
)
def test_nothing_is_left_of_an_agent_that_was(tmp_path: Path, then: str, number: int) -> None:
    script = AGENT.format(repository=str(REPOSITORY), folder=tmp_path, then=then)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        keeper = int(agent.stdout.readline())
        files = [tmp_path / "daemon", tmp_path / "rank"]
        wait_until(
            lambda: all(file.exists() and file.read_text() for file in files),
            timeout_seconds=10,
            what="the rank runs",
        )
        pids = [keeper, *(int(file.read_text()) for file in files)]

        agent.send_signal(number)

        assert agent.wait(timeout=20) == -signal.SIGKILL
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
            timeout_seconds=10,
            what="all processes are gone",
        )

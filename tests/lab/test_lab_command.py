"""./lab as people use it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.services.slurm import Cluster

    Lab = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.lab


def test_run_passes_exit_code_stdin_and_output_on(lab: Lab, plain_cluster: Cluster) -> None:
    done = lab(
        "run",
        "--id",
        plain_cluster.name,
        "--",
        "sh",
        "-c",
        "cat; echo oops >&2; exit 9",
        typed="in",
    )

    assert (done.returncode, done.stdout, done.stderr) == (9, "in", "oops\n")


def test_run_takes_user_and_node(lab: Lab, plain_cluster: Cluster) -> None:
    done = lab("run", "--id", plain_cluster.name, "-u", "bob", "--node", "n2", "--",
               "sh", "-c", "id -un; hostname; pwd")  # fmt: skip

    assert done.stdout.split() == ["bob", "n2", "/home/bob"]


def test_shell_reads_commands(lab: Lab, plain_cluster: Cluster) -> None:
    done = lab("shell", "--id", plain_cluster.name, typed="sinfo --noheader --format=%D; exit 3\n")

    assert (done.returncode, done.stdout) == (3, "3\n")


def test_status_lists_labs(lab: Lab, plain_cluster: Cluster) -> None:
    lines = lab("status").stdout.splitlines()

    assert f"{plain_cluster.name}\tup\t3 nodes\texact" in "\n".join(lines)


def test_up_and_down_say_nothing_when_all_is_well(lab: Lab) -> None:
    name = f"cmd{os.getpid()}"
    try:
        up = lab("up", "--id", name, "--nodes", "1", "--no-plugin")
        assert (up.returncode, up.stdout) == (0, "")
    finally:
        down = lab("down", "--id", name)
    assert (down.returncode, down.stdout, down.stderr) == (0, "", "")
    assert name not in lab("status").stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(
            ["run", "--id", "nowhere", "--", "true"],
            "lab: lab nowhere isn't up — ./lab up --id nowhere",
            id="no such lab",
        ),
        pytest.param(
            ["up", "--id", "x", "--nodes", "0"],
            "lab: a lab has 1 to 200 nodes, not 0",
            id="no nodes",
        ),
        pytest.param(
            ["up", "--id", "A/b"],
            "lab: 'A/b' can't be a lab's id — use a-z, 0-9 and -, at most 21 characters",
            id="bad id",
        ),
        pytest.param(
            ["up", "--id", "x", "--release", "24.11"],
            "lab: release 24.11 can't be started yet — only 22.05 can",
            id="other release",
        ),
        pytest.param(
            ["up", "--id", "x", "--no-plugin=n7"],
            "lab: the lab has no machine n7 to leave the plugin out on",
            id="plugin missing on no machine",
        ),
    ],
)
def test_a_mistake_is_one_line_on_stderr(lab: Lab, words: list[str], line: str) -> None:
    done = lab(*words)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{line}\n")


def test_help_has_examples(lab: Lab) -> None:
    done = lab("--help")

    assert done.returncode == 0
    assert "./lab run -- srun -N3 hostname" in done.stdout

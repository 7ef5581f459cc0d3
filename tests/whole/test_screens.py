"""The screens in a real terminal on a real cluster, as alice."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.services.commands import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab

HPCBOX = "/opt/hpcbox/bin/hpcbox"
SCRIPT = """
echo rank $SLURM_PROCID starts
for step in 1 2 3 4 5; do echo step $step loss 0.$step; done
if [ $SLURM_PROCID = 17 ]; then echo ERROR no more memory; fi
for step in 6 7 8; do echo step $step loss 0.$step; done
exec sleep 300
"""
TMUX = ("tmux", "-u", "-L", "screens")


class Terminal:
    """A terminal of 100 by 40 cells in which something runs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def press(self, *keys: str) -> None:
        """Press keys as tmux(1) names them."""
        self._cluster.run([*TMUX, "send-keys", *keys], check=True)

    def text(self) -> str:
        """Return what is on the screen."""
        return self._cluster.run([*TMUX, "capture-pane", "-p"]).stdout

    def shows(self, *texts: str) -> str:
        """Wait until texts are on the screen; return all that is."""
        wait_until(
            lambda: all(text in self.text() for text in texts),
            timeout_seconds=30,
            gap_seconds=0.1,
            what=lambda: f"{texts} is shown:\n{self.text()}",
        )
        return self.text()


@contextlib.contextmanager
def terminal(cluster: Cluster, *words: str) -> Iterator[Terminal]:
    """Run a command in a terminal; it is ended with the block."""
    size = ("-x", "100", "-y", "40")
    cluster.run([*TMUX, "new-session", "-d", *size, *words], check=True)
    try:
        yield Terminal(cluster)
    finally:
        cluster.run([*TMUX, "kill-server"])
        cluster.run(["sh", "-c", "rm -r /tmp/tmux-$(id -u)"], check=True)


def test_the_odd_one_of_24_ranks_is_found_on_the_screen_and_its_job_cancelled(
    cluster: Cluster,
) -> None:
    cluster.run(["tee", "ranks.sh"], input=SCRIPT, check=True)
    options = ("-N3", "-n24", "--overcommit", f"--container={cluster.registry}/debian:1")
    wrapped = "srun --overcommit sh ranks.sh"
    done = cluster.run(
        ["sbatch", "--parsable", "--job-name=odd-one", *options]
        + ["--container-mounts=/home/alice", f"--wrap={wrapped}"],
        check=True,
    )
    key = done.stdout.strip()

    with terminal(cluster, HPCBOX) as screen:
        screen.shows("alice's jobs", key, "odd-one")
        screen.press("Enter")
        screen.shows(f"{key}.0", "ready", "8 ranks", "debian:1")
        screen.press("r")
        screen.shows("24 ranks", "23 n3", "step 8 loss 0.8")
        screen.press("d")
        found = screen.shows("DIFFERS", "SAME (23 ranks")
        assert "rank 17 n3" in found
        assert "line 7  ERROR no more memory" in found
        assert "ranks 0-16,18-23" in found

        screen.press("Enter")
        screen.shows("rank 17", "ERROR no more memory", "follows")
        screen.press("Escape")
        screen.shows("DIFFERS")
        screen.press("x")
        screen.shows("Cancel this job?", f"$ scancel {key}")
        screen.press("y")
        screen.shows(f"cancelled {key}")
        screen.press("C-q")

    wait_until(
        lambda: "JobState=CANCELLED" in cluster.run(["scontrol", "show", "job", key]).stdout,
        timeout_seconds=15,
        what="the job is cancelled",
    )


def test_without_slurm_the_queue_screen_says_why_and_goes_on(cluster: Cluster) -> None:
    with terminal(cluster, "env", "PATH=/usr/games", HPCBOX) as screen:
        found = screen.shows("No such file or directory")
        assert "hpcbox" in found
        screen.press("?")
        screen.shows("KEYS")
        screen.press("Escape")
        screen.shows("JOB")
        screen.press("q")


def test_a_dumb_terminal_is_pointed_to_plain_commands(cluster: Cluster) -> None:
    command = f"TERM=dumb {HPCBOX}; echo code $?; sleep 30"

    with terminal(cluster, "sh", "-c", command) as screen:
        assert "hpcbox ps" in screen.shows("code 64")

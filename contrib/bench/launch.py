"""make bench-launch: from the command to all ranks in main, over asyncssh against its peers.

Four nodes without the plugin; alice has an allocation. The same MPICH program, which says when it
was in main, is started on 4, 16 and 64 ranks

    hpcbox     by `hpcbox srun --launcher=ssh`, every rank in a container;
    mpiexec    by the host's mpiexec.hydra over OpenSSH, without any container;
    srun       by `srun --mpi=pmi2`, without any container,

alternating. Cold is the whole command: connections and containers too. Warm is hpcbox's time from
the last node's container being ready, as the step's events have it, to the last rank in main; it is
set against mpiexec's whole time, since mpiexec keeps nothing warm. 64 ranks on 2 cores show that it
works, not how fast.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "contrib" / "bench")]

from report import Figure, median, publish  # noqa: E402

from tests.services.slurm import Cluster  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = "10.77.0.1:5000/mpich:1"
PROGRAM = REPOSITORY / "tests" / "services" / "programs" / "when_mpi.c"
ROUNDS = {4: 8, 16: 8, 64: 3}
COLD, WARM = 0.6, 0.3
NODES = 4


class Launches:
    """One lab with an allocation of alice's, in which each way to start the program is timed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        home = cluster.run(["sh", "-c", "echo $HOME"], check=True).stdout.strip()
        self._folder = f"{home}/bench"
        cluster.run(["mkdir", "-p", self._folder], check=True)
        self.program = f"{self._folder}/when"
        words = ["mpicc.mpich", "-O1", "-o", self.program, str(PROGRAM)]
        cluster.run(words, user="root", check=True)
        done = cluster.run(["salloc", "--no-shell", f"-N{NODES}", "--exclusive"], check=True)
        self.job = done.stderr.split("job allocation ")[1].split()[0]
        self.image = cluster.run(["hpcbox", "resolve", IMAGE], check=True).stdout.strip()
        nodes = cluster.node_names
        self._variables = [
            f"SLURM_JOB_ID={self.job}",
            f"SLURM_JOB_NODELIST={','.join(nodes)}",
            f"SLURM_JOB_NUM_NODES={len(nodes)}",
            f"SLURM_TASKS_PER_NODE=16(x{len(nodes)})",
        ]

    def hpcbox(self, ranks: int) -> dict[str, float]:
        """Start by hpcbox over ssh; cold and warm seconds."""
        words = ["hpcbox", "srun", "--launcher=ssh", f"-N{NODES}", f"-n{ranks}", "--mpi=hydra"]
        start, in_main = self._run([*words, f"--container={self.image}", self.program], ranks)
        ready = self._containers_ready()
        return {"cold": in_main - start, "warm": in_main - ready}

    def mpiexec(self, ranks: int) -> dict[str, float]:
        """Start by the host's mpiexec over OpenSSH."""
        hosts = ",".join(self._cluster.node_names)
        words = ["mpiexec.hydra", "-launcher", "ssh", "-hosts", hosts]
        words += ["-ppn", str(ranks // NODES), "-n", str(ranks), self.program]
        start, in_main = self._run(words, ranks)
        return {"cold": in_main - start}

    def srun(self, ranks: int) -> dict[str, float]:
        """Start by srun and its PMI-2."""
        words = ["srun", "--mpi=pmi2", "--overlap", "--oversubscribe", f"-N{NODES}"]
        start, in_main = self._run([*words, f"-n{ranks}", self.program], ranks)
        return {"cold": in_main - start}

    def _run(self, words: list[str], ranks: int) -> tuple[float, float]:
        """Return when the command began and when its last rank was in main (seconds since 1970)."""
        command = self._cluster.command(
            ["env", "-C", self._folder, *self._variables, *words], user="alice"
        )
        start = time.time()
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        times = re.findall(r"^when \d+ (\d+) \d+$", done.stdout, re.MULTILINE)
        if len(times) != ranks:
            raise SystemExit(f"{words[:2]}: {len(times)} of {ranks} ranks spoke: {done.stderr}")
        return start, max(map(int, times)) / 1e9

    def _containers_ready(self) -> float:
        """Return when the last node of the newest step had its container."""
        text = self._cluster.run(
            ["sh", "-c", f"cat $(ls -dt {self._folder}/hpcbox-*/ | head -1)node-*.jsonl"],
            check=True,
        ).stdout
        events = [json.loads(line) for line in text.splitlines()]
        return max(event["t"] for event in events if event.get("state") == "ready")


def measure(ways: dict[str, Callable[[int], dict[str, float]]], ranks: int) -> list[Figure]:
    """Return the figures of one number of ranks; the ways' order turns from round to round."""
    runs: dict[str, list[float]] = {}
    for number in range(ROUNDS[ranks] + 1):
        order = list(ways) if number % 2 == 0 else list(reversed(ways))
        for name in order:
            for quantity, seconds in ways[name](ranks).items():
                # The first round warms the page cache.
                if number:
                    runs.setdefault(f"{name} {quantity}", []).append(seconds)
    figures = [median(f"{ranks} ranks: {name}", values, "s") for name, values in runs.items()]
    peer = statistics.median(runs["mpiexec cold"])
    for quantity, budget in (("cold", COLD), ("warm", WARM)):
        ratios = [seconds / peer for seconds in runs[f"hpcbox {quantity}"]]
        limit = budget if ranks <= 16 else None
        figures.append(median(f"{ranks} ranks: {quantity} / mpiexec", ratios, "x", limit))
    return figures


def main() -> int:
    """Run the benchmark; return the exit code."""
    figures: list[Figure] = []
    with Cluster(nodes=NODES, profile="wide", plugin=False, name=f"bench{os.getpid()}") as cluster:
        launches = Launches(cluster)
        ways = {"hpcbox": launches.hpcbox, "mpiexec": launches.mpiexec, "srun": launches.srun}
        for ranks in ROUNDS:
            figures += measure(ways, ranks)
    return publish("launch", figures)


if __name__ == "__main__":
    sys.exit(main())

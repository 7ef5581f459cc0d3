"""A home without Slurm: stand-ins for its commands, first in PATH, that hpcbox is started with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from hpcbox.cluster.squeue import job_format

BENCH = Path(__file__).parent
# Installed beside the interpreter that runs the benchmark.
HPCBOX = os.path.join(os.path.dirname(sys.executable), "hpcbox")
SCONTROL = """#!/bin/sh
echo "JobId=$4 StdErr={folder}/slurm-$4.out StdOut={folder}/slurm-$4.out"
"""


class StandIn:
    """Slurm's commands as far as screens need them, and a home folder.

    Attributes:
        home: the home folder, which is also the jobs' working directory.
        environment: for what is started here.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        """Set it up below a folder; the queue begins to change now."""
        self.home = folder / "home"
        programs, lines = folder / "bin", folder / "lines"
        for made in (self.home, programs, lines):
            made.mkdir(parents=True)
        source = (BENCH / "replayed_squeue.py").read_text(encoding="utf-8")
        self._write(programs / "squeue", f"#!/usr/bin/python3 -SE\n{source}")
        self._write(programs / "scontrol", SCONTROL.format(folder=self.home))
        self.environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(self.home),
            "USER": "root",
            "SLURM_CLUSTER_NAME": "bench",
            "REPLAY_JOBS": str(jobs),
            "REPLAY_FOLDER": str(lines),
            "REPLAY_WORK_DIR": str(self.home),
            "REPLAY_START": str(time.time()),
        }
        # The first answer in a format takes seconds.
        self.squeue(f"--Format={job_format('a' * 20)}")

    def _write(self, file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)

    def squeue(self, *words: str) -> str:
        """Ask the stand-in."""
        return subprocess.run(
            ["squeue", *words], env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def cpu_of_squeue(self) -> float:
        """Return the CPU time of one answer."""
        before = os.times()
        self.squeue(f"--Format={job_format('a' * 20)}")
        after = os.times()
        used = after.children_user - before.children_user
        return used + after.children_system - before.children_system

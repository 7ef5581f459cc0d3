"""Slurm's commands of a lab as programs of this machine: a folder for PATH.

with Cluster() as cluster:
    folder = install(cluster, Path("/tmp/x"), user="alice")   # folder/squeue, folder/scancel, …
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.slurm import Cluster

COMMANDS = ("squeue", "scontrol", "scancel", "sstat", "sbatch")
# Of the caller's variables only these matter to the commands.
VARIABLES = ("SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN", "SCANCEL_VERBOSE", "SQUEUE_STATES")


def install(cluster: Cluster, folder: Path, *, user: str) -> Path:
    """Write one program for each command; it runs inside the lab's login machine as the user."""
    enter = shlex.join(cluster.command(["env"], user=user))
    passed = " ".join(f'${{{name}+"{name}=${name}"}}' for name in VARIABLES)
    folder.mkdir(parents=True, exist_ok=True)
    for command in COMMANDS:
        file = folder / command
        file.write_text(f'#!/bin/sh\nexec {enter} {passed} {command} "$@"\n', encoding="utf-8")
        file.chmod(0o755)
    return folder

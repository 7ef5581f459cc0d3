"""Asking for containers in ways that must be refused, and reading what hpcbox answers."""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from tests.services.slurm import Cluster

IMAGE = "10.77.0.1:5000/debian:1"
PROGRESS = re.compile(
    r"^hpcbox: n\d: (resolving|pulling|waiting for|ready|making room for|checking access to"
    r"|unpacking|writing to disk|settling) "
)


def srun(cluster: Cluster, *words: str, **options: object) -> CompletedProcess[str]:
    return cluster.run(["srun", *words], timeout_seconds=120, **options)  # type: ignore[arg-type]


def errors_of_hpcbox(text: str) -> list[str]:
    """The lines of hpcbox that aren't progress of a pull."""
    lines = [line for line in text.splitlines() if line.startswith("hpcbox: ")]
    return [line for line in lines if not PROGRESS.match(line)]


def check_refused(done: CompletedProcess[str], reason: str, *, code: int = 125) -> str:
    """One line of hpcbox, with the reason, and the code; return the line."""
    lines = errors_of_hpcbox(done.stderr)
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert reason in lines[0]
    assert "Traceback" not in done.stderr
    return lines[0]


def wait_for_line(stream: IO[bytes], word: bytes) -> None:
    for line in iter(stream.readline, b""):
        if word in line:
            return
    raise AssertionError(f"no line with {word!r}")

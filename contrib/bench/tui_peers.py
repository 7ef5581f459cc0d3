"""The same quantities of peers, as far as they have them: turm (Rust) and toolong (Textual)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from report import REPOSITORY, Figure, median
from screen import Screen
from stand_in import StandIn
from tui_output import LOG_BYTES, delays, write_log
from tui_queue import JOBS, STARTS, first_cpu

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WINDOWS, WINDOW_SECONDS = 3, 15.0
# Any of the stand-in's first jobs may be at the top when it is started.
NUMBERS = range(100_000, 100_400)
LOADING_SECONDS = 30.0


def peers(folder: Path) -> list[Figure]:
    """Measure those that can be installed."""
    figures = []
    for name, measured in (("turm", _turm), ("toolong", _toolong)):
        programs = REPOSITORY / "build" / "peers" / name / "bin"
        if _is_installed(name, programs):
            (folder / name).mkdir()
            figures += measured(folder / name, programs)
    return figures


def _is_installed(name: str, programs: Path) -> bool:
    """Install a peer from the package index into an environment of its own."""
    if not (programs / "python").exists():
        words = [sys.executable, "-m", "venv", programs.parent]
        subprocess.run(words, check=True, timeout=120)
    done = subprocess.run(
        [programs / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", name],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        print(f"{name}: not measured, pip can't install it: {done.stderr.strip()[-300:]}")
    return done.returncode == 0


def _turm(folder: Path, programs: Path) -> list[Figure]:
    words = [str(programs / "turm")]
    few, many = StandIn(folder / "few", 40), StandIn(folder / "many", JOBS)
    figures = [_first("turm", words, few.environment, "train-01"), *_turm_queue(words, many)]
    log = folder / "log"
    for number in NUMBERS:
        (few.home / f"slurm-{number}.out").symlink_to(log)
    log.write_text("begin\n", encoding="ascii")
    figures.append(_latency("turm", words, few.environment, log))
    write_log(log, LOG_BYTES)
    with Screen(words, few.environment) as screen:
        screen.wait_for("the-last-line", 120)
        cost, memory = screen.cpu_seconds(), screen.private_megabytes()
    return [
        *figures,
        median("turm, 1 GB log, tail on screen, CPU", [cost], "s"),
        median("turm, 1 GB log, private memory", [memory], "MB"),
    ]


def _turm_queue(words: Sequence[str], slurm: StandIn) -> list[Figure]:
    """Watch 100,000 jobs with turm, which asks every 2 s."""
    shares = []
    with Screen(words, slurm.environment) as screen:
        # Its format is new to the stand-in, whose first answer takes seconds.
        screen.wait_for("train-01", 120)
        screen.run(5.0)
        for _ in range(WINDOWS):
            begun, cpu = time.perf_counter(), screen.cpu_seconds()
            screen.run(WINDOW_SECONDS)
            shares.append(100 * (screen.cpu_seconds() - cpu) / (time.perf_counter() - begun))
        memory = screen.resident_megabytes()
    return [
        median("turm, 100,000 jobs, CPU without squeue's", shares, "%"),
        median("turm, 100,000 jobs, resident memory", [memory], "MB"),
    ]


def _toolong(folder: Path, programs: Path) -> list[Figure]:
    log = folder / "log"
    words = [str(programs / "tl"), str(log)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    log.write_text("begin\n", encoding="ascii")
    figures = [
        _first("toolong", words, environment, "begin"),
        _latency("toolong", words, environment, log),
    ]
    write_log(log, LOG_BYTES)
    with Screen(words, environment) as screen:
        screen.wait_for("everything is as it was")
        screen.run(LOADING_SECONDS)
        cost, memory = screen.cpu_seconds(), screen.private_megabytes()
    return [
        *figures,
        median(f"toolong, 1 GB log, CPU after {LOADING_SECONDS:.0f} s", [cost], "s"),
        median("toolong, 1 GB log, private memory", [memory], "MB"),
    ]


def _first(name: str, words: Sequence[str], environment: Mapping[str, str], text: str) -> Figure:
    runs = [first_cpu(words, environment, text) for _ in range(STARTS)]
    return median(f"{name}, first paint, CPU", runs, "s")


def _latency(name: str, words: Sequence[str], environment: Mapping[str, str], log: Path) -> Figure:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    with Screen(words, environment) as screen:
        screen.wait_for("begin")
        screen.wait_quiet()
        found = delays(screen, lambda line: os.write(descriptor, line))
    os.close(descriptor)
    return median(f"{name}, line in a log to screen, wall", found, "ms")

"""Output on the screen: ranks that print, a log of 1 GB, and how soon a line is there."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from printing_ranks import PrintingStep
from report import Figure, median
from screen import Screen
from stand_in import BENCH, HPCBOX, StandIn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The job that is asked for; any number is one to the stand-in.
JOB = "100005"
RANKS, LINES_PER_SECOND = 64, 10
WINDOWS, WINDOW_SECONDS = 3, 10.0
VIEWS = {"side by side": "", "merged": "m", "compared": "d"}
LOG_BYTES = 10**9
LOG_LINE = (
    "%011d 2026-01-01T00:00:00 step=%06d loss=0.12345 tokens/s=10234 everything is as it was\n"
)
NEEDLE = "here it is"
EXPRESSION = "h[e]re it is"
OPENINGS = 3
LINES, WARM_UP = 60, 5
# One letter a line: each cell differs from the line that stood there before.
WIDTH, SEEN = 40, 30


@contextlib.contextmanager
def queue_screen(slurm: StandIn) -> Iterator[Screen]:
    """The screens, with the queue painted."""
    with Screen([HPCBOX, "tui", "--all"], slurm.environment) as screen:
        screen.wait_for("train-01")
        screen.wait_quiet()
        yield screen


def ranks(folder: Path) -> list[Figure]:
    """Watch 64 ranks that print 10 lines a second each, in every view."""
    slurm = StandIn(folder, 40)
    figures = []
    words = [sys.executable, BENCH / "printing_ranks.py", slurm.home, JOB, RANKS, LINES_PER_SECOND]
    with subprocess.Popen([str(word) for word in words]) as writer:
        try:
            for name, key in VIEWS.items():
                with queue_screen(slurm) as screen:
                    screen.enter(":", f"ranks {JOB}\r")
                    screen.wait_for("rank 41 loss")
                    screen.send(key)
                    screen.run(3.0)
                    figures += _ranks_cost(screen, name)
        finally:
            writer.kill()
    return figures


def _ranks_cost(screen: Screen, view: str) -> list[Figure]:
    shares, counts = [], []
    for _ in range(WINDOWS):
        begun, cpu, count = time.perf_counter(), screen.cpu_seconds(), screen.count
        screen.run(WINDOW_SECONDS)
        seconds = time.perf_counter() - begun
        shares.append(100 * (screen.cpu_seconds() - cpu) / seconds)
        counts.append((screen.count - count) / seconds / 1000)
    label = f"{RANKS} ranks x {LINES_PER_SECOND} lines/s {view}"
    return [
        median(label, shares, "%", 15),
        median(f"{label}, written per s", counts, "kB"),
    ]


def write_log(file: Path, size_bytes: int) -> None:
    """Write a log of numbered lines; the text to be found is 1 MB before its end."""
    length = len(LOG_LINE % (0, 0))
    count = size_bytes // length
    found = max(0, count - 10**6 // length)
    with open(file, "w", encoding="ascii") as log:
        log.writelines(LOG_LINE % (number, number // 9) for number in range(found))
        log.write(f"{NEEDLE}\n")
        log.writelines(LOG_LINE % (number, number // 9) for number in range(found, count))
        log.write("the-last-line\n")


def large_log(folder: Path) -> list[Figure]:
    """Open a log of 1 GB at its end, and search all of it."""
    slurm = StandIn(folder, 40)
    large, small = folder / "large.log", folder / "small.log"
    write_log(large, LOG_BYTES)
    write_log(small, 10**5)
    added, memory = [], []
    searches: dict[str, list[float]] = {"a text": [], "an expression": []}
    for _ in range(OPENINGS):
        costs = {}
        for file in (small, large):
            with queue_screen(slurm) as screen:
                costs[file] = _open(screen, file)
                if file == large:
                    searches["a text"].append(_search(screen, NEEDLE))
                    memory.append(screen.private_megabytes())
        added.append(costs[large] - costs[small])
        # From the same place as the first one, and without its remark in the heading.
        with queue_screen(slurm) as screen:
            _open(screen, large)
            searches["an expression"].append(_search(screen, EXPRESSION))
    found = [
        median(f"1 GB log, search for {name}, CPU", runs, "s", 1.0)
        for name, runs in searches.items()
    ]
    return [
        median("1 GB log, tail, CPU beyond 100 kB's", added, "s", 0.03),
        *found,
        median("1 GB log, searched, private memory", memory, "MB", 60),
    ]


def _open(screen: Screen, file: Path) -> float:
    """Return the CPU seconds from the command to the tail's being painted."""
    screen.enter(":", f"log {file}")
    before = screen.cpu_seconds()
    screen.send("\r")
    screen.wait_for("the-last-line")
    screen.wait_quiet()
    return screen.cpu_seconds() - before


def _search(screen: Screen, text: str) -> float:
    """Return the CPU seconds of a search from the end through the whole file."""
    screen.send("G")
    screen.wait_quiet(1.0)
    screen.enter("/", text)
    screen.forget()
    before = screen.cpu_seconds()
    screen.send("\r")
    screen.wait_for("went on from the start")
    return screen.cpu_seconds() - before


def latencies(folder: Path) -> list[Figure]:
    """Time lines from being printed to being on a screen."""
    slurm = StandIn(folder, 40)
    log = folder / "followed.log"
    log.write_text("begin\n", encoding="ascii")
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    with queue_screen(slurm) as screen:
        screen.enter(":", f"log {log}\r")
        screen.wait_for("begin")
        screen.wait_quiet()
        in_log = delays(screen, lambda line: os.write(descriptor, line))
    os.close(descriptor)
    step = PrintingStep(str(slurm.home), JOB, 4)
    step.print(0, b"begin\n")
    with queue_screen(slurm) as screen:
        screen.enter(":", f"ranks {JOB}\r")
        screen.wait_for("begin")
        screen.wait_quiet()
        in_grid = delays(screen, lambda line: step.print(0, line))
    with Screen([HPCBOX, "logs", f"{JOB}.0:0", "-f"], slurm.environment) as screen:
        screen.wait_for("begin")
        in_pipe = delays(screen, lambda line: step.print(0, line))
    step.close()
    return [
        median("line in a log to screen, wall", in_log, "ms", 50),
        median("line of a rank to screen, wall", in_grid, "ms", 50),
        median("line of a rank to hpcbox logs -f, wall", in_pipe, "ms", 150),
    ]


def delays(screen: Screen, write: Callable[[bytes], object]) -> list[float]:
    """Return the milliseconds of each line; lines come at random moments."""
    moments = random.Random(1)  # noqa: S311 - moments, no secrets
    found = []
    letters = itertools.cycle("abcdefghijklmnopqrstuvwxyz")
    for number, letter in zip(range(LINES), letters, strict=False):
        screen.run(moments.uniform(0.2, 0.4))
        screen.forget()
        begun = time.perf_counter()
        write(f"{letter * WIDTH}\n".encode())
        screen.wait_for(letter * SEEN, 20)
        if number >= WARM_UP:
            found.append(1000 * (screen.painted_at - begun))
    return found

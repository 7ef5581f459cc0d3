"""The queue on the screen: first paint, 100,000 jobs that change, keys."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from report import Figure, median
from screen import Screen
from stand_in import HPCBOX, StandIn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

JOBS = 100_000
STARTS = 7
WINDOWS, WINDOW_SECONDS = 3, 45.0
HELLO = """
from textual.app import App
from textual.widgets import Static
class Hello(App):
    def compose(self):
        yield Static("hello, world")
Hello().run()
"""
# Groups of keys; each key is timed by itself.
KEYS = {
    "cursor": ["j", "j", "k", "G", "g", "\x04", "\x15"],
    "filter": [*"train-01", *"\x7f\x7f\x7f", *"77"],
    "sort": ["o", "o", "o", "O", "o", "o", "O"],
}


def first_cpu(words: Sequence[str], environment: Mapping[str, str], text: str) -> float:
    """Return the CPU seconds of a program until it has painted a text."""
    with Screen(words, environment) as screen:
        screen.wait_for(text)
        return screen.cpu_seconds()


def first_paint(folder: Path) -> list[Figure]:
    """Start with the cached queue of the last session, against Textual's hello."""
    slurm = StandIn(folder, 40)
    quiet = slurm.environment | {"TEXTUAL_ANIMATIONS": "none"}
    hpcbox, hello = [HPCBOX, "tui", "--all"], [sys.executable, "-c", HELLO]
    with Screen(hpcbox, slurm.environment) as screen:
        screen.wait_for("train-01")
        screen.run(1.0)
    ours, theirs = [], []
    for number in range(STARTS):
        pair = [lambda: ours.append(first_cpu(hpcbox, slurm.environment, "train-01"))]
        pair.append(lambda: theirs.append(first_cpu(hello, quiet, "hello, world")))
        for measured in pair if number % 2 else reversed(pair):
            measured()
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return [
        median("first paint, CPU", ours, "s", 0.55),
        median("Textual's hello, CPU", theirs, "s"),
        median("first paint / Textual's hello", ratios, "x", 1.6),
    ]


def large_queue(folder: Path) -> list[Figure]:
    """Watch 100,000 jobs of which 0.5 % change every second, and press keys."""
    slurm = StandIn(folder, JOBS)
    answers = [slurm.cpu_of_squeue() for _ in range(3)]
    with Screen([HPCBOX, "tui", "--all"], slurm.environment) as screen:
        # Painted when the heading counts the whole queue.
        screen.wait_for("PD90040", 120)
        screen.run(10.0)
        figures = [*_costs(screen), *_keys(screen)]
        memory = [screen.resident_megabytes()]
    return [
        median("the stand-in squeue's answer, CPU", answers, "s"),
        *figures,
        median("100,000 jobs, resident memory", memory, "MB", 120),
    ]


def _costs(screen: Screen) -> list[Figure]:
    """Return what repaints, and queries with their parsing, take of a core."""
    paints, queries, counts = [], [], []
    for _ in range(WINDOWS):
        begun, count = time.perf_counter(), screen.count
        main, own = screen.main_thread_seconds(), screen.cpu_seconds()
        children = screen.children_seconds()
        screen.run(WINDOW_SECONDS)
        seconds = time.perf_counter() - begun
        painted = screen.main_thread_seconds() - main
        others = screen.cpu_seconds() - own - painted
        paints.append(100 * painted / seconds)
        queries.append(100 * (others + screen.children_seconds() - children) / seconds)
        counts.append((screen.count - count) / seconds / 1000)
    return [
        median("100,000 jobs, repaint at 1 Hz", paints, "%", 5),
        median("100,000 jobs, query and parse", queries, "%", 5),
        median("100,000 jobs, written per s", counts, "kB"),
    ]


def _keys(screen: Screen) -> list[Figure]:
    """Return what keys take until the screen is quiet again."""
    figures = []
    for name, keys in KEYS.items():
        walls, costs = [], []
        if name == "filter":
            screen.send("/")
        screen.wait_quiet()
        for key in keys:
            cpu, begun = screen.main_thread_seconds(), time.perf_counter()
            screen.send(key)
            screen.wait_quiet(2.0)
            walls.append(1000 * (screen.painted_at - begun))
            costs.append(1000 * (screen.main_thread_seconds() - cpu))
        screen.send("\r\x1b")
        screen.run(1.0)
        figures += [
            median(f"100,000 jobs, {name} key to screen, wall", walls, "ms", 100),
            median(f"100,000 jobs, {name} key, CPU", costs, "ms", 100),
        ]
    return figures

"""What bench-images measures of images that are there: repeats, zeros, first commands."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from image_figures import MEGABYTE, MEMORY_MEGABYTES
from image_pull import SINKS
from image_ways import UMOCI, Place, again, remove, run
from report import Figure, median

if TYPE_CHECKING:
    from tests.services.registry import Registry

ROOT = Path(__file__).with_name("image_root.py")
REPEATS = 5
REPEAT_SECONDS = 0.3
COLD, WARM = 1.3, 1.1
ROUNDS = 4
PLAIN = "unpacked folder"
FIRST_COMMANDS = {
    "small": ("python3", "-c", "import ssl"),
    "medium": ("python3", "-c", "import numpy"),
    "ml": ("python3", "-c", "import torch"),
}


def repeated(place: Place, registry: Registry, ways: list[str], image: str) -> list[Figure]:
    """Pull again what the stores have: how long it takes and how many blobs it fetches."""
    figures = []
    for sink in filter(SINKS.__contains__, ways):
        command = again(place, sink, image)
        seconds = []
        before = len(registry.requests())
        for _ in range(REPEATS):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        blobs = sum("/blobs/" in request for request in registry.requests()[before:])
        label = f"{image}, {sink}: again"
        figures.append(median(f"{label}, wall", seconds, "s", REPEAT_SECONDS))
        figures.append(Figure(f"{label}, blobs", blobs, "", 0, (blobs,)))
    return figures


def zeros(place: Place, ways: list[str], image: str) -> list[Figure]:
    """Pull a layer that shrinks 1000:1, and look at the memory it takes."""
    figures = []
    for sink in filter(SINKS.__contains__, ways):
        cost = run(place, sink, image)
        remove(place.folder(sink, image))
        memory, written = cost.memory_bytes / MEGABYTE, cost.written_bytes / MEGABYTE
        label = f"{image}, {sink}"
        figures += [
            median(f"{label}: memory", [memory], "MB", MEMORY_MEGABYTES),
            median(f"{label}: wall", [cost.wall_seconds], "s"),
            median(f"{label}: written", [written], "MB"),
        ]
    return figures


def first_runs(place: Place, ways: list[str], image: str) -> list[Figure]:
    """Run the first command in each sink's root and in an unpacked folder, in turn."""
    sinks = [way for way in ways if way in SINKS]
    if not sinks:
        return []
    plain = place.scratch / f"{image}-plain"
    plain.mkdir()
    roots = {sink: _stored(place, sink, image) for sink in sinks}
    _in_root(place, roots[sinks[0]], "copy", os.fspath(plain))
    roots[PLAIN] = [os.fspath(plain), ""]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in roots}
    for number in range(ROUNDS + 1):
        for name in list(roots) if number % 2 == 0 else reversed(roots):
            done = _in_root(place, roots[name], "run", *FIRST_COMMANDS[image])
            if number:
                runs[name].append(json.loads(done))
    remove(plain)
    figures = []
    for name, measured in runs.items():
        for when, budget in (("mount", None), ("cold", COLD), ("warm", WARM)):
            seconds = [run[when] for run in measured]
            label = f"{image}, {name}: first run, {when}"
            figures.append(median(label, seconds, "s"))
            if budget is not None and name != PLAIN:
                base = statistics.median(run[when] for run in runs[PLAIN])
                ratios = [value / base for value in seconds]
                figures.append(median(f"{label} / {PLAIN}", ratios, "x", budget))
    return figures


def compared(place: Place, ways: list[str], image: str) -> list[Figure]:
    """Compare the tree of the first sink with the one that umoci has left."""
    theirs = place.folder(UMOCI, image) / "root"
    sinks = [way for way in ways if way in SINKS]
    if not sinks or not theirs.exists():
        return []
    found = _in_root(place, _stored(place, sinks[0], image), "compare", os.fspath(theirs))
    count = json.loads(found)
    remove(place.folder(UMOCI, image))
    label = f"{image}, {sinks[0]}: paths that differ from umoci's"
    return [Figure(label, count, "", 0, (count,))]


def _stored(place: Place, sink: str, image: str) -> list[str]:
    done = subprocess.run(again(place, sink, image), check=True, capture_output=True, text=True)
    return [os.fspath(place.folder(sink, image) / "store"), done.stdout.strip()]


def _in_root(place: Place, root: list[str], *words: str) -> str:
    command = [sys.executable, os.fspath(ROOT), *root, str(place.uid), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

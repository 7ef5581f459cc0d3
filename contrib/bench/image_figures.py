"""What a pull cost, as figures with their budgets (the design's table)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_pull import FLOOR, SINKS
from image_ways import PEERS, PODMAN
from report import Figure, median

if TYPE_CHECKING:
    from measured import Cost

MEGABYTE = 10**6
FLOOR_CPU = {"index": 1.25, "erofs": 2.0, "squashfs": 2.9, "directory": 2.9}
# Of the peers' wall and CPU; the directory sink's is for podman's CPU.
DEFAULT_SINK, DEFAULT_RATIO = "index", 0.1
DIRECTORY_SINK, DIRECTORY_RATIO = "directory", 0.2
MEMORY_MEGABYTES = 100.0
WRITTEN = 1.05


@dataclass
class Results:
    """What was measured of one image.

    Attributes:
        costs: per way, one for each round that counts.
        occupied: per way, bytes on disk at the end.
        uncompressed_bytes: of its layers together.
    """

    costs: dict[str, list[Cost]] = field(default_factory=dict)
    occupied: dict[str, int] = field(default_factory=dict)
    uncompressed_bytes: int = 0


def costs(image: str, results: Results) -> list[Figure]:
    """Return the figures of all ways, each with its ratios."""
    figures = []
    for way in results.costs:
        figures += _plain(image, way, results)
        if way in SINKS:
            figures += _ratios(image, way, results)
    return figures


def _plain(image: str, way: str, results: Results) -> list[Figure]:
    label, runs = f"{image}, {way}", results.costs[way]
    memory = MEMORY_MEGABYTES if way in SINKS else None
    return [
        median(f"{label}: wall", [run.wall_seconds for run in runs], "s"),
        median(f"{label}: CPU", [run.cpu_seconds for run in runs], "s"),
        median(f"{label}: CPU in the kernel", [run.kernel_seconds for run in runs], "s"),
        median(f"{label}: memory", [run.memory_bytes / MEGABYTE for run in runs], "MB", memory),
        median(f"{label}: written", [run.written_bytes / MEGABYTE for run in runs], "MB"),
        median(f"{label}: disk wrote", [run.disk_bytes / MEGABYTE for run in runs], "MB"),
        median(f"{label}: occupied", [results.occupied[way] / MEGABYTE], "MB"),
    ]


def _ratios(image: str, way: str, results: Results) -> list[Figure]:
    figures = []
    own, label = results.costs[way], f"{image}, {way}"
    if results.uncompressed_bytes:
        written = [run.written_bytes / results.uncompressed_bytes for run in own]
        figures.append(median(f"{label}: written / uncompressed", written, "x", WRITTEN))
    for other in (FLOOR, *PEERS):
        for quantity, value in (("wall", _wall), ("CPU", _cpu)):
            if other in results.costs:
                pairs = zip(own, results.costs[other], strict=True)
                ratios = [value(ours) / value(theirs) for ours, theirs in pairs]
                budget = _budget(way, other, quantity)
                figures.append(median(f"{label}: {quantity} / {other}", ratios, "x", budget))
    return figures


def _budget(way: str, other: str, quantity: str) -> float | None:
    if other == FLOOR:
        return FLOOR_CPU[way] if quantity == "CPU" else None
    if way == DEFAULT_SINK:
        return DEFAULT_RATIO
    is_directory = (way, other, quantity) == (DIRECTORY_SINK, PODMAN, "CPU")
    return DIRECTORY_RATIO if is_directory else None


def _wall(cost: Cost) -> float:
    return cost.wall_seconds


def _cpu(cost: Cost) -> float:
    return cost.cpu_seconds

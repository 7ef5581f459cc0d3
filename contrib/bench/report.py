"""What every benchmark does with its figures: a table, a JSON file, budgets and waivers."""

from __future__ import annotations

import json
import statistics
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WAIVERS = Path(__file__).with_name("waivers.toml")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity.

    Attributes:
        metric: its name, unique in the benchmark.
        value: the median.
        unit: of value and budget.
        budget: the largest value that is good enough; None for a figure without one.
        runs: the single runs' values.
    """

    metric: str
    value: float
    unit: str
    budget: float | None
    runs: tuple[float, ...]

    @property
    def met(self) -> bool:
        """Whether the budget is kept, or there is none."""
        return self.budget is None or self.value <= self.budget


def median(metric: str, runs: list[float], unit: str, budget: float | None = None) -> Figure:
    """Return the figure of some runs."""
    return Figure(metric, statistics.median(runs), unit, budget, tuple(runs))


def publish(name: str, figures: list[Figure]) -> int:
    """Print the table, write build/bench/NAME.json, and return the exit code.

    1: a budget is missed and contrib/bench/waivers.toml gives no reason for it.
    """
    waivers = tomllib.loads(WAIVERS.read_text(encoding="utf-8")).get(name, {})
    failed = False
    print(f"\n{name}")
    for figure in figures:
        spread = f"[{min(figure.runs):.4g} - {max(figure.runs):.4g}] n={len(figure.runs)}"
        verdict = "" if figure.budget is None else f"budget {figure.budget:g}: "
        if figure.budget is not None:
            verdict += "met" if figure.met else "MISSED"
        if not figure.met:
            reason = waivers.get(figure.metric)
            verdict += f" (waived: {reason})" if reason else ""
            failed = failed or reason is None
        print(
            f"  {figure.metric:<46} {figure.value:>10.4g} {figure.unit:<6} {spread:<34} {verdict}"
        )
    file = report_file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(figure), "met": figure.met} for figure in figures]
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"  written to {file.relative_to(REPOSITORY)}")
    if failed:
        print("  a budget is missed and not waived", file=sys.stderr)
    return 1 if failed else 0


def report_file(name: str) -> Path:
    """Where publish puts a benchmark's figures."""
    return REPOSITORY / "build" / "bench" / f"{name}.json"

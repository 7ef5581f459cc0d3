"""What `hpcbox logs` is asked for: JOB[.STEP][:RANKS]; pure."""

import re
from dataclasses import dataclass

from hpcbox.errors import RequestError, shorten

RANKS_LIMIT = 2**20
_TARGET = re.compile(
    r"(?P<job>[A-Za-z0-9_+-]+)(?:\.(?P<step>[A-Za-z0-9_+-]+))?(?::(?P<ranks>[0-9,-]+|all))?",
    re.ASCII,
)
_RANGE = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """Whose output is wanted.

    Attributes:
        job: a job's id, e.g. "12" or "12_3".
        step: a step's id, "batch" for the script's own log, None for the newest.
        ranks: numbers, None for all.
        has_ranks: whether ranks were asked for at all.
    """

    job: str
    step: str | None
    ranks: frozenset[int] | None
    has_ranks: bool


def parse_target(text: str) -> Target:
    """Return what a target names.

    Raises:
        RequestError: it is none.
    """
    match = _TARGET.fullmatch(text)
    if match is None:
        raise RequestError(
            f"'{shorten(text)}' names no output",
            hint="write JOB, JOB.STEP or JOB:RANKS, e.g. 12, 12.0 or 12:0-3,7",
        )
    ranks = match["ranks"]
    wanted = None if ranks in (None, "all") else _parse_ranks(ranks)
    return Target(match["job"], match["step"], wanted, ranks is not None)


def _parse_ranks(text: str) -> frozenset[int]:
    ranks: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < RANKS_LIMIT:
            raise RequestError(f"'{part}' is no rank or range of ranks", hint="for example 0-3,7")
        ranks.update(range(first, last + 1))
    return frozenset(ranks)

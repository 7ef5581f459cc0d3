"""Durations, counts and empty values as Slurm's commands write them; pure."""

import re

# What Slurm prints where it has nothing to say.
_NOTHING = frozenset(("", "(null)", "N/A", "None", "NONE", "Unknown"))
_DURATION = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?", re.ASCII)
_ELEMENTS = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)
# slurm.conf(5): MaxArraySize is at most 4,000,001.
MAX_ARRAY_INDEX = 4_000_000


def plain(text: str) -> str:
    """Return a field, or "" where Slurm means nothing."""
    return "" if text in _NOTHING else text


def duration(text: str) -> int | None:
    """Return the seconds of [[D-]H:]M:S, None for UNLIMITED and anything else without a number."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def number(text: str) -> int:
    """Return a count, the first of a range ("2-4"), 0 for what is no number."""
    digits = text.partition("-")[0]
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        return int(digits)
    return 0


def moment(text: str) -> int | None:
    """Return seconds since 1970 (SLURM_TIME_FORMAT=%s), None when unknown."""
    return number(text) or None


def array_key(key: str) -> tuple[str, int]:
    """Return what scancel(1) takes of squeue's key, and for how many jobs it stands.

    squeue also writes steps and the limit of jobs at a time, which scancel refuses:
    "12_[1-9:4,20-21%2]" becomes "12_[1,5,9,20-21]", five jobs.
    """
    job, bracket, rest = key.partition("_[")
    if not bracket:
        return key, 1
    parts, count = [], 0
    for part in rest.rstrip("]").partition("%")[0].split(","):
        match = _ELEMENTS.fullmatch(part)
        first, last, step = (int(text or 0) for text in match.groups()) if match else (0, 0, 0)
        if step > 1 and first <= last <= MAX_ARRAY_INDEX:
            indexes = range(first, last + 1, step)
            parts.append(",".join(map(str, indexes)))
            count += len(indexes)
        else:
            parts.append(part)
            count += max(1, last - first + 1)
    return f"{job}_[{','.join(parts)}]", count

"""Where a job's output goes: sbatch(1)'s patterns for file names, expanded; pure."""

import re
from collections.abc import Mapping

# A pattern is %, an optional width for numbers, and a letter; "\\" in front switches all off.
_PATTERN = re.compile(r"%(\d{0,2})([A-Za-z%])", re.ASCII)
_NUMBERS = frozenset("AaJjnst")


def expand(pattern: str, values: Mapping[str, str]) -> str:
    """Return a path with its patterns replaced, "filename pattern" in sbatch(1).

    Args:
        pattern: as given to --output; what has no value stays as it is.
        values: letter → text, e.g. {"A": "12", "a": "3", "N": "n1"}.
    """
    if "\\" in pattern:
        return pattern.replace("\\", "")

    def replaced(match: re.Match[str]) -> str:
        width, letter = match.groups()
        if letter == "%":
            return "%"
        value = values.get(letter)
        if value is None:
            return match[0]
        return value.zfill(min(int(width or 0), 10)) if letter in _NUMBERS else value

    return _PATTERN.sub(replaced, pattern)


def batch_path(shown: str, field: str, values: Mapping[str, str]) -> str:
    """Return a file of a batch script from `scontrol --oneliner show job`, "" when it has none.

    scontrol expands part of the patterns, and none with a width. The last field of that name
    counts: a job's name, which may hold anything, comes first.

    Args:
        shown: the line of one job.
        field: "StdOut" or "StdErr".
        values: letter → text, as for `expand`.
    """
    _, found, rest = shown.rpartition(f" {field}=")
    if not found:
        return ""
    path = re.split(r" [A-Z][A-Za-z/:]*=|\s*$", rest, maxsplit=1)[0]
    if path == "(null)":
        return ""
    # The batch script is task 0 on the job's node 0 (slurmstepd's fname.c).
    return expand(path, {"n": "0", "t": "0", "s": "batch", **values})

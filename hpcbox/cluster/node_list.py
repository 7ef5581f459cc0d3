"""Node lists as Slurm writes them ("n[1-3,07],gpu[01-02]-x") and the names they stand for; pure.

The grammar is scontrol(1)'s, `show hostnames` and `show hostlist`. Lists come from Slurm or from
files, so what they stand for is bounded.
"""

import itertools
import re
from collections.abc import Iterable, Iterator

from hpcbox.errors import RequestError, shorten

MAX_NAMES = 100_000
MAX_BRACKETS = 8
MAX_DIGITS = 18
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", re.ASCII)


def expand(node_list: str, limit: int = MAX_NAMES) -> tuple[str, ...]:
    """Return the names that a list stands for, in its order; repeated ones stay.

    Raises:
        RequestError: it is no node list, or stands for more than `limit` names.
    """
    names: list[str] = []
    for part in _parts(node_list):
        for name in _expand_part(part):
            if len(names) == limit:
                raise RequestError(f"node list '{shorten(node_list)}' has over {limit} names")
            names.append(name)
    return tuple(names)


def compress(names: Iterable[str]) -> str:
    """Return a short list of these names that Slurm reads, sorted, each name once."""
    numbers: dict[str, set[str]] = {}
    for name in names:
        stem = name.rstrip("0123456789")
        # What is too long for a range of Slurm's stays a name.
        digits = name[len(stem) :][-MAX_DIGITS:]
        numbers.setdefault(name[: len(name) - len(digits)], set()).add(digits)
    lists = []
    for stem in sorted(numbers):
        if "" in numbers[stem]:
            numbers[stem].remove("")
            lists.append(stem)
        ranges = list(_ranges(sorted(numbers[stem], key=lambda text: (int(text), len(text)))))
        if len(ranges) == 1 and "-" not in ranges[0]:
            lists.append(stem + ranges[0])
        elif ranges:
            lists.append(f"{stem}[{','.join(ranges)}]")
    return ",".join(lists)


def _parts(node_list: str) -> Iterator[str]:
    """Split at the commas outside of brackets."""
    depth = start = 0
    for position, character in enumerate(node_list):
        if character in "[]":
            depth += 1 if character == "[" else -1
            if depth not in (0, 1):
                raise _invalid(node_list)
        elif character == "," and depth == 0:
            if position > start:
                yield node_list[start:position]
            start = position + 1
    if depth:
        raise _invalid(node_list)
    if len(node_list) > start:
        yield node_list[start:]


def _expand_part(part: str) -> Iterator[str]:
    """The product of all brackets of one part, the last one fastest."""
    head, bracket, rest = part.partition("[")
    if not bracket:
        yield head
        return
    ranges, _, rest = rest.partition("]")
    if rest.count("[") >= MAX_BRACKETS:
        raise _invalid(part)
    for number in itertools.chain.from_iterable(_numbers(text) for text in ranges.split(",")):
        for tail in _expand_part(rest):
            yield head + number + tail


def _numbers(text: str) -> Iterator[str]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise _invalid(text)
    first, last = match[1], match[2] or match[1]
    if int(last) < int(first):
        raise _invalid(text)
    width = len(first)
    return (f"{number:0{width}}" for number in range(int(first), int(last) + 1))


def _ranges(numbers: list[str]) -> Iterator[str]:
    """Runs of numbers that read back with the digits they have; `numbers` ascend."""
    start = 0
    for position, digits in enumerate(numbers):
        following = numbers[position + 1] if position + 1 < len(numbers) else ""
        if following == f"{int(digits) + 1:0{len(numbers[start])}}":
            continue
        yield digits if start == position else f"{numbers[start]}-{digits}"
        start = position + 1


def _invalid(text: str) -> RequestError:
    return RequestError(f"'{shorten(text)}' is no node list", hint="for example n[1-3,07],gpu1")

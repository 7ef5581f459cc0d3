"""What a fuzz target is: bytes go in, and anything but one of hpcbox's own errors is a defect."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Defect(Exception):
    """What came out breaks a promise."""


@dataclass(frozen=True, slots=True)
class Target:
    """Code that reads what strangers wrote.

    Attributes:
        modules: names of the modules whose coverage counts.
        seeds: inputs to begin with.
        check: reads one input; raises Defect, or whatever the code trips over.
        plant: puts a defect into the code; what it says of it.
        longest_bytes: of an input.
        mutate: makes a new input of one, at most so many bytes, by a seed; None leaves it to
            libFuzzer, which knows nothing of the format.
    """

    modules: Sequence[str]
    seeds: Callable[[], Sequence[bytes]]
    check: Callable[[bytes], None]
    plant: Callable[[], str]
    longest_bytes: int
    mutate: Callable[[bytes, int, int], bytes] | None = None


def promise(holds: object, what: str) -> None:
    """Raise Defect unless a promise holds."""
    if not holds:
        raise Defect(what)

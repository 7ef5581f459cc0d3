"""Tables for people: columns as wide as their widest cell, nothing that could move a terminal."""

import unicodedata
from collections.abc import Iterator, Sequence

from hpcbox.errors import one_line


def lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a table, the first row its heading; columns are two cells apart."""
    shown = [[one_line(cell) or "-" for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        padded = (
            text + " " * (width - cells(text)) for text, width in zip(row, widths, strict=True)
        )
        yield "  ".join(padded).rstrip()


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes: wide characters two, combining none."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def clock(seconds: float) -> str:
    """Return a duration as squeue writes it: "0:07", "2:03:04", "1-00:00:00"."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}-{hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"

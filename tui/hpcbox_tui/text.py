"""Untrusted text made fit for a terminal: no control character passes, widths are cells.

Names of jobs, paths and what ranks print come from anybody. A character that isn't printable is
shown as its escape, so that a terminal never sees it.
"""

import re

from rich.cells import cell_len, set_cell_size

from hpcbox.errors import one_line

# What programs print to colour their output (ECMA-48, SGR); left out, not shown as noise.
_COLOURS = re.compile(rb"\x1b\[[0-9;:]{0,64}m")
# A line on a screen is a few hundred cells; more of a long one than this is never looked at.
_LONGEST_BYTES = 2**16


def harmless(text: str) -> str:
    """Return the text on one line with every control character escaped."""
    return text if text.isascii() and text.isprintable() else one_line(text)


def fit(text: str, width: int) -> str:
    """Return harmless text in exactly `width` cells, cut with an ellipsis or padded."""
    if width <= 0:
        return ""
    text = harmless(text)
    if text.isascii():
        if len(text) <= width:
            return text.ljust(width)
        return text[: width - 1] + "…"
    # Characters without a width of their own (accents) could stack without end.
    text = text[: 4 * width]
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def fit_right(text: str, width: int) -> str:
    """Return ASCII text at the right of `width` cells, cut where it is too long."""
    return text.rjust(width) if len(text) <= width else fit(text, width)


def output_text(raw: bytes, start: int = 0) -> str:
    """Return what to show of one raw line of output, from a byte on, bounded and harmless.

    Of a line redrawn with carriage returns (a progress bar) its last form is shown; colours are
    left out; everything else that isn't printable is escaped, bytes that aren't UTF-8 too.
    """
    raw = raw.rstrip(b"\r\n")
    # A bar is redrawn at the end of a line, however long it is by now.
    if b"\r" in raw:
        raw = raw[raw.rfind(b"\r") + 1 :]
    raw = raw[start : start + _LONGEST_BYTES]
    if b"\x1b" in raw:
        raw = _COLOURS.sub(b"", raw)
    text = raw.decode("utf-8", "backslashreplace")
    if "\t" in text:
        text = text.expandtabs(8)
    return harmless(text)


def duration(seconds: float) -> str:
    """Return a time as Slurm writes it: M:SS, H:MM:SS or D-HH:MM:SS."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{rest:02}"
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"


def age(seconds: float) -> str:
    """Return how old something is, in one short word: 0.4 s, 12 s, 3 min, 2 h, 5 d."""
    if seconds < 0:
        return "0 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds / size)} {name}"
    return f"{int(seconds)} s"


def amount(size_bytes: float) -> str:
    """Return a number of bytes in one short word: 512 B, 4.2 MB (powers of ten)."""
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {name}"
    return f"{int(size_bytes)} B"


def numbers(values: "list[int] | tuple[int, ...]") -> str:
    """Return ascending numbers folded: 0-2,4,6-7."""
    parts: list[str] = []
    first = last = None
    for value in values:
        if last is not None and value == last + 1:
            last = value
            continue
        if first is not None:
            parts.append(f"{first}" if first == last else f"{first}-{last}")
        first = last = value
    if first is not None:
        parts.append(f"{first}" if first == last else f"{first}-{last}")
    return ",".join(parts)


def bar(fraction: float, width: int) -> str:
    """Return a bar of `width` cells, filled from the left."""
    filled = int(min(max(fraction, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)

"""Bytes of others, made fit for a terminal: colours stay, all else that could move it is shown.

A job's output, or an image's, must not be able to type into a terminal, retitle it, or write over
what stands there.
"""

import codecs
import re

# Controls but newline and tab, C1, and characters that turn or hide the text around them.
_CONTROL = re.compile(
    "(\x1b\\[[0-9;:]{0,32}m)"
    "|\r(?!\n)"
    "|([\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff])"
)
# An escape sequence, or a carriage return, whose rest may come with the next piece.
_UNFINISHED = re.compile("(\x1b(\\[[0-9;:]{0,32})?|\r)\\Z")
RESET = "\x1b[0m"


class Harmless:
    """Turns the pieces of one stream into text that a terminal can be sent."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""
        self._has_colours = False

    def feed(self, piece: bytes, *, final: bool = False) -> str:
        """Return the next text; `final` gives out what was held back, and ends all colours."""
        text = self._held + self._decoder.decode(piece, final)
        self._held = ""
        if not final and (match := _UNFINISHED.search(text)):
            self._held = match[0]
            text = text[: match.start()]
        shown = _CONTROL.sub(_shown, text).replace("\r\n", "\n")
        self._has_colours = self._has_colours or "\x1b" in shown
        return shown + RESET if final and self._has_colours else shown


def line_text(line: bytes) -> str:
    """Return one line of output; of a bar that was drawn again and again, its last state."""
    last = line.rstrip(b"\r").rpartition(b"\r")[2]
    return Harmless().feed(last, final=True)


def _shown(match: "re.Match[str]") -> str:
    if match[1]:
        return match[1]
    if match[0] == "\r":
        # Back to the line's begin, as a bar wants it, but nothing of the old line stays beside it.
        return "\r\x1b[K"
    return match[0].encode("unicode_escape").decode("ascii")

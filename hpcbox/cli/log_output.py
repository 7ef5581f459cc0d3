"""How lines and pieces of ranks are printed: raw, harmless, labelled or as JSON."""

import json
import os
import re
from collections.abc import Iterable
from typing import Protocol

from hpcbox.cli.harmless import Harmless, line_text
from hpcbox.ranks.layout import ERR, OUT, SUFFIXES
from hpcbox.ranks.merge import Line, LineCutter, Piece

# A rank's stderr goes where a stderr goes, as with srun.
DESCRIPTORS = {OUT: 1, ERR: 2}
# In place of a rank's number, of what the batch script has printed.
NO_RANK = -1


def write(descriptor: int, data: bytes) -> None:
    """Write all bytes.

    Raises:
        BrokenPipeError: the reader has gone.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class PieceOutput:
    """Writes one rank's bytes as they are, or harmless to where a terminal is."""

    def __init__(self, *, raw: bool) -> None:
        """Take whether control sequences go to a terminal too."""
        self._texts = {
            stream: Harmless()
            for stream, descriptor in DESCRIPTORS.items()
            if not raw and os.isatty(descriptor)
        }

    def write(self, pieces: Iterable[Piece]) -> None:
        """Write the next pieces."""
        for piece in pieces:
            text = self._texts.get(piece.stream)
            data = piece.data if text is None else text.feed(piece.data).encode()
            write(DESCRIPTORS[piece.stream], data)

    def finish(self) -> None:
        """Write what was held back, and leave the terminal in its own colours."""
        for stream, text in self._texts.items():
            write(DESCRIPTORS[stream], text.feed(b"", final=True).encode())


class Output(Protocol):
    """Where lines go."""

    def write(self, lines: Iterable[Line]) -> None:
        """Write the next lines."""


class LinesOf:
    """Takes pieces and writes the lines that they make, all or those with a match."""

    def __init__(self, output: Output, pattern: re.Pattern[bytes] | None) -> None:
        """Take where lines go, and what they have to match."""
        self._output = output
        self._pattern = pattern
        self._cutter = LineCutter()

    def write(self, pieces: Iterable[Piece]) -> None:
        """Write the lines that are whole now."""
        self._write(self._cutter.cut(pieces))

    def finish(self) -> None:
        """Write the unfinished lines."""
        self._write(self._cutter.rest())

    def _write(self, lines: list[Line]) -> None:
        pattern = self._pattern
        if pattern is not None:
            lines = [line for line in lines if pattern.search(line.text)]
        self._output.write(lines)


class LineOutput:
    """Writes lines of several ranks, each with its rank's number."""

    def __init__(self, *, raw: bool, labels: bool = True) -> None:
        """Take whether control sequences go to a terminal too, and whether ranks are named."""
        self._labels = labels
        self._harmless = {
            stream: not raw and os.isatty(descriptor) for stream, descriptor in DESCRIPTORS.items()
        }

    def write(self, lines: Iterable[Line]) -> None:
        """Write the next lines; those that follow each other on a stream with one system call."""
        batch: list[bytes] = []
        descriptor = DESCRIPTORS[OUT]
        for line in lines:
            if DESCRIPTORS[line.stream] != descriptor:
                write(descriptor, b"".join(batch))
                batch.clear()
                descriptor = DESCRIPTORS[line.stream]
            text = line_text(line.text).encode() if self._harmless[line.stream] else line.text
            batch.append(b"[%d] %b\n" % (line.rank, text) if self._labels else text + b"\n")
        write(descriptor, b"".join(batch))


class JsonOutput:
    """Writes each line as a JSON object on a line of its own, all to stdout."""

    def write(self, lines: Iterable[Line]) -> None:
        """Write the next lines; bytes that are no UTF-8 become U+FFFD."""
        objects = (
            {
                "time": line.time_ns / 1e9 or None,
                "rank": None if line.rank == NO_RANK else line.rank,
                "stream": SUFFIXES[line.stream],
                "text": line.text.decode(errors="replace"),
            }
            for line in lines
        )
        write(DESCRIPTORS[OUT], "".join(json.dumps(item) + "\n" for item in objects).encode())

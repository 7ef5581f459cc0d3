"""The part of a log that is in view."""

import re
from collections.abc import Sequence

from rich.style import Style
from textual.strip import Strip

from hpcbox_tui.messages import LogLine
from hpcbox_tui.styles import MATCH, PLAIN
from hpcbox_tui.text import fit, output_text
from hpcbox_tui.widgets.lines import Painted, strip_of


class LogPane(Painted, can_focus=True):
    """Shows lines that are given to it; what is found is marked.

    Attributes:
        column: the first cell in view, for lines wider than the screen.
    """

    def __init__(self) -> None:
        super().__init__(id="log")
        self.column = 0
        self._lines: Sequence[LogLine] = ()
        self._search: re.Pattern[str] | None = None

    def show_lines(self, lines: Sequence[LogLine]) -> None:
        """Show these lines from the top."""
        self._lines = lines
        self.repaint()

    def mark(self, text: str) -> None:
        """Mark a text, or expression, wherever it is in view."""
        try:
            self._search = re.compile(text) if text else None
        except re.error:
            self._search = re.compile(re.escape(text))
        self.repaint()

    def go_sideways(self, cells: int) -> None:
        """Show cells further right, or left where negative."""
        self.column = max(0, self.column + cells)
        self.repaint()

    def draw_line(self, y: int, width: int) -> Strip:
        """Draw a line."""
        if y >= len(self._lines):
            return strip_of([(" " * width, PLAIN)], width)
        text = output_text(self._lines[y].raw)[self.column :]
        return strip_of(self._parts(fit(text, width)), width)

    def _parts(self, text: str) -> list[tuple[str, Style]]:
        if self._search is None:
            return [(text, PLAIN)]
        parts: list[tuple[str, Style]] = []
        at = 0
        for match in self._search.finditer(text):
            if match.end() > match.start():
                parts.append((text[at : match.start()], PLAIN))
                parts.append((match[0], MATCH))
                at = match.end()
        return [*parts, (text[at:], PLAIN)]

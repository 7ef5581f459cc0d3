"""One line: what stands at its left, and what stands at its right."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from hpcbox_tui.styles import PLAIN
from hpcbox_tui.text import fit
from hpcbox_tui.widgets.lines import strip_of

Parts = Sequence[tuple[str, Style]]


class Line(Widget):
    """Draws parts of harmless text; where both sides don't fit, the left one is cut."""

    def __init__(self, *, id: str, base: Style = PLAIN) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._base = base
        self._left: Parts = ()
        self._right: Parts = ()

    @property
    def text(self) -> str:
        """What it shows, without looks."""
        return "".join(part for part, _ in (*self._left, *self._right))

    def show(self, left: Parts, right: Parts = ()) -> None:
        """Show these parts; nothing is painted when they are the same as before."""
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is one
        """Draw the line."""
        width = self.size.width
        right = [(text, self._base + style) for text, style in self._right]
        taken = sum(cell_len(text) for text, _ in right)
        if taken > width // 2:
            right = [(fit("".join(text for text, _ in right), width // 2), self._base)]
            taken = width // 2
        room = width - taken
        parts: list[tuple[str, Style]] = []
        for text, style in self._left:
            cells = cell_len(text)
            if cells > room:
                parts.append((fit(text, room), self._base + style))
                room = 0
                break
            parts.append((text, self._base + style))
            room -= cells
        parts.append((" " * room, self._base))
        return strip_of([*parts, *right], width)

"""One cell for each rank: hundreds of them on a few lines."""

from rich.style import Style
from textual.strip import Strip

from hpcbox_tui.styles import CURSOR, PLAIN
from hpcbox_tui.widgets.lines import Painted, strip_of

# Of a screen's height; more ranks than fit are cut, the grid scrolls.
_MOST_LINES = 8


class RankStrip(Painted):
    """Shows signs, and the one that is chosen."""

    def __init__(self) -> None:
        super().__init__(id="strip")
        self._signs: list[tuple[str, Style]] = []
        self._chosen = -1

    def show_signs(self, signs: list[tuple[str, Style]], chosen: int) -> None:
        """Show these cells; `chosen` is an index, -1 for none."""
        width = max(1, self.size.width - 2)
        lines = min(_MOST_LINES, max(1, -(-len(signs) // width)))
        if len(signs) != len(self._signs) or self.styles.height is None:
            self.styles.height = lines
        self._signs, self._chosen = signs, chosen
        self.repaint()

    def draw_line(self, y: int, width: int) -> Strip:
        """Draw a line of cells."""
        room = max(1, width - 2)
        parts: list[tuple[str, Style]] = [(" ", PLAIN)]
        for index, (text, style) in enumerate(self._signs[y * room : (y + 1) * room], y * room):
            parts.append((text, CURSOR if index == self._chosen else style))
        return strip_of(parts, width)

"""All ranks' lines below each other by time, each with its rank in the gutter."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.strip import Strip

from hpcbox.views import ERR, Line
from hpcbox_tui.styles import BOLD, PLAIN, WAITING
from hpcbox_tui.text import fit, output_text
from hpcbox_tui.widgets.lines import Lines, strip_of


class MergedView(Lines):
    """Follows the newest line until somebody moves up.

    Attributes:
        follows: whether the newest line is kept in view.
        waiting: lines that have come since it stopped following.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("F", "follow", "follow", show=False)]

    def __init__(self) -> None:
        super().__init__(id="merged")
        self.follows = True
        self.waiting = 0
        self._all: Sequence[Line] = ()
        self._shown: Sequence[Line] = ()
        self._gutter = 3
        self._filter = ""

    def show_lines(self, lines: Sequence[Line], rank_count: int) -> None:
        """Show these lines, or keep them until it follows again."""
        self._gutter = len(str(max(0, rank_count - 1)))
        if not self.follows:
            # The rows must not move away under somebody who reads.
            self.waiting = (
                max(0, lines[-1].time_ns > self._all[-1].time_ns) if self._all and lines else 0
            )
            return
        self._all = lines
        self._show()

    def show_filter(self, text: str) -> None:
        """Show only lines with a text."""
        self._filter = text
        self._show()

    def _show(self) -> None:
        raw = self._filter.encode("utf-8", "surrogateescape")
        self._shown = [line for line in self._all if raw in line.text] if raw else self._all
        if self.follows:
            self.cursor = max(0, len(self._shown) - 1)
        self.repaint()

    @property
    def rank(self) -> int | None:
        """The rank that printed the line under the cursor."""
        return self._shown[self.cursor].rank if self.cursor < len(self._shown) else None

    def row_count(self) -> int:
        """Return the number of lines."""
        return len(self._shown)

    def draw_row(self, index: int, width: int) -> Strip:
        """Draw a line."""
        line = self._shown[index]
        label = f"[{line.rank:>{self._gutter}}] "
        style = WAITING if line.stream == ERR else PLAIN
        text = fit(output_text(line.text), max(0, width - len(label)))
        return strip_of([(label, BOLD), (text, style)], width)

    def move_to(self, index: int) -> None:
        """Move; up stops following, the last line starts it again."""
        self.follows = index >= self.row_count() - 1
        self.waiting = 0
        super().move_to(index)

    def action_follow(self) -> None:
        """Follow the newest line, or stop."""
        self.follows = not self.follows
        if self.follows:
            self.action_last()

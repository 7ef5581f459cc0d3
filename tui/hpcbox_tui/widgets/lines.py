"""A list of any length: one widget that draws the rows in view, and nothing else.

It keeps what it has painted, so that new content repaints only the cells that differ: over ssh
the bytes count, and Textual sends every cell of a region that is refreshed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from hpcbox_tui.styles import CURSOR, PLAIN

BLANK = Strip([])


def strip_of(parts: Iterable[tuple[str, Style]], width: int) -> Strip:
    """Return a strip of exactly `width` cells from (text, style) parts; texts are harmless."""
    return Strip([Segment(text, style) for text, style in parts if text]).adjust_cell_length(width)


def difference(old: Strip, new: Strip) -> tuple[int, int] | None:
    """Return the first cell that differs and the one behind the last; None for equal strips."""
    if old == new:
        return None
    before, after = old.text, new.text
    # Where characters aren't cells, or only styles differ, the whole line is painted.
    width = max(len(before), len(after))
    if len(before) != len(after) or not (before.isascii() and after.isascii()):
        return 0, width
    styles_before = [(len(part.text), part.style) for part in old]
    if styles_before != [(len(part.text), part.style) for part in new]:
        return 0, width
    unequal = [index for index in range(width) if before[index] != after[index]]
    return (unequal[0], unequal[-1] + 1) if unequal else None


class Painted(Widget):
    """A widget that draws its own lines, and repaints only what differs."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._painted: dict[int, Strip] = {}
        # Lines that `repaint` has drawn to compare them, for the paint that follows.
        self._drawn: dict[int, Strip] = {}

    def draw_line(self, y: int, width: int) -> Strip:
        """Return the line at `y`, exactly `width` cells."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        """Draw a line (Textual's line API)."""
        strip = self._drawn.pop(y, None) or self.draw_line(y, self.size.width)
        self._painted[y] = strip
        return strip

    def repaint(self) -> None:
        """Paint what differs from what is on the screen; call it when content has changed."""
        size = self.size
        self._drawn.clear()
        if not all(y in self._painted for y in range(size.height)):
            self.refresh()
            return
        regions = []
        for y in range(size.height):
            strip = self.draw_line(y, size.width)
            span = difference(self._painted[y], strip)
            if span is not None:
                self._drawn[y] = strip
                regions.append(Region(span[0], y, span[1] - span[0], 1))
        if regions:
            self.refresh(*regions)

    def on_resize(self) -> None:
        """Forget what was painted at another size."""
        self._painted.clear()
        self._drawn.clear()


class Lines(Painted, can_focus=True):
    """Rows below each other with a cursor; subclasses say how many and how each looks.

    Attributes:
        top: the first row in view.
        cursor: the row that keys are for.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down", show=False),
        Binding("k,up", "move(-1)", "up", show=False),
        Binding("ctrl+d,pagedown", "page(1)", "page down", show=False),
        Binding("ctrl+u,pageup", "page(-1)", "page up", show=False),
        Binding("g,home", "first", "first", show=False),
        Binding("G,end", "last", "last", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row."""

    class Chosen(Message):
        """A row was clicked on twice."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.top = 0
        self.cursor = 0
        self.title_rows = 0

    # What subclasses say.

    def row_count(self) -> int:
        """Return the number of rows."""
        return 0

    def draw_row(self, index: int, width: int) -> Strip:  # noqa: ARG002 - for subclasses
        """Return a row of exactly `width` cells."""
        return BLANK

    def draw_title(self, line: int, width: int) -> Strip:  # noqa: ARG002 - for subclasses
        """Return one of the `title_rows` lines that stay above the rows."""
        return BLANK

    def can_stop(self, index: int) -> bool:  # noqa: ARG002 - for subclasses
        """Whether the cursor may stand on a row."""
        return True

    # Painting.

    @property
    def rows_in_view(self) -> int:
        """How many rows fit."""
        return max(1, self.size.height - self.title_rows)

    def draw_line(self, y: int, width: int) -> Strip:
        """Draw a title or a row."""
        if y < self.title_rows:
            return self.draw_title(y, width)
        index = self.top + y - self.title_rows
        if index >= self.row_count():
            return strip_of([(" " * width, PLAIN)], width)
        strip = self.draw_row(index, width)
        if index == self.cursor and self.can_stop(index):
            # One style over the whole row: several colours reversed would be a patchwork.
            return Strip([Segment(strip.text, CURSOR)], width)
        return strip

    def repaint(self) -> None:
        """Paint what differs, with the cursor in view."""
        self.keep_in_view()
        super().repaint()

    def on_resize(self) -> None:
        """Keep the cursor in view."""
        # Textual calls Painted.on_resize as well.
        self.keep_in_view()

    # Moving.

    def keep_in_view(self) -> None:
        """Bring cursor and top to where rows are."""
        count = self.row_count()
        self.cursor = min(max(0, self.cursor), max(0, count - 1))
        rows = self.rows_in_view
        if self.cursor < self.top:
            self.top = self.cursor
        elif self.cursor >= self.top + rows:
            self.top = self.cursor - rows + 1
        self.top = max(0, min(self.top, count - rows))

    def move_to(self, index: int) -> None:
        """Put the cursor on a row, or the next one in that direction where it may stand."""
        count = self.row_count()
        step = 1 if index >= self.cursor else -1
        index = min(max(0, index), count - 1)
        while 0 <= index < count and not self.can_stop(index):
            index += step
        if 0 <= index < count:
            self.cursor = index
            self.post_message(self.Moved())
            self.repaint()
        else:
            # Nothing to stand on that way: show what is there.
            self.top = 0 if step < 0 else max(0, count - self.rows_in_view)
            Painted.repaint(self)

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self.move_to(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        """Move the cursor by what is in view."""
        self.move_to(self.cursor + pages * max(1, self.rows_in_view - 1))

    def action_first(self) -> None:
        """Go to the first row."""
        self.move_to(0)

    def action_last(self) -> None:
        """Go to the last row."""
        self.move_to(self.row_count() - 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Move down by a few rows."""
        event.stop()
        self.action_move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Move up by a few rows."""
        event.stop()
        self.action_move(-3)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is; the second click of two opens the row."""
        index = self.top + event.y - self.title_rows
        if event.y >= self.title_rows and index < self.row_count():
            self.move_to(index)
            if event.chain == 2:
                self.post_message(self.Chosen())


@dataclass(frozen=True, slots=True)
class TextRow:
    """A row made of parts.

    Attributes:
        parts: texts and their looks.
        target: what the cursor stands on here, None for a row to be read only.
    """

    parts: tuple[tuple[str, Style], ...]
    target: str | None = None


class TextLines(Lines):
    """Rows that are kept, for lists of a screenful or a few; the cursor stays on its target."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._rows: list[TextRow] = []

    def show_rows(self, rows: list[TextRow]) -> None:
        """Show these rows."""
        target = self.target
        self._rows = rows
        targets = [row.target for row in rows]
        if target is not None and target in targets:
            self.cursor = targets.index(target)
        elif not self.can_stop(self.cursor):
            self.cursor = next((at for at, found in enumerate(targets) if found is not None), 0)
        self.repaint()

    @property
    def target(self) -> str | None:
        """What the cursor stands on."""
        return self._rows[self.cursor].target if self.cursor < len(self._rows) else None

    def row_count(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def can_stop(self, index: int) -> bool:
        """Whether there is something to stand on."""
        return index < len(self._rows) and self._rows[index].target is not None

    def draw_row(self, index: int, width: int) -> Strip:
        """Draw one row."""
        return strip_of(self._rows[index].parts, width)

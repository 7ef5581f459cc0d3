"""All ranks side by side: one widget draws every pane (a widget each is 20 times dearer)."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip

from hpcbox.views import RankView
from hpcbox_tui.messages import Tail
from hpcbox_tui.rank_looks import outcome
from hpcbox_tui.styles import BOLD, CURSOR, DIM, PLAIN
from hpcbox_tui.text import fit, output_text
from hpcbox_tui.widgets.lines import BLANK, Lines, strip_of

_LEAST_WIDTH = 24
_MOST_WIDTH = 80
_GOOD_HEIGHT = 4
_LEAST_HEIGHT = 2


class Layout(NamedTuple):
    """How panes are laid out: columns, rows of panes in all, lines and cells of a pane."""

    columns: int
    rows: int
    height: int
    width: int


def lay_out(count: int, width: int, height: int) -> Layout:
    """Return the layout that shows all panes at the best height, else as many as fit.

    The fewest columns at which every pane has a good height: lines of a usual width read better
    than high panes.
    """
    most = max(1, min(count, (width + 1) // (_LEAST_WIDTH + 1)))
    for columns in range(max(1, min(most, -(-width // _MOST_WIDTH))), most + 1):
        rows = -(-count // columns)
        if rows * _GOOD_HEIGHT <= height:
            break
    else:
        columns = most
    rows = max(1, -(-count // columns))
    pane = max(_LEAST_HEIGHT, min(height // rows, height))
    return Layout(columns, rows, pane, (width - columns + 1) // columns)


class RankGrid(Lines):
    """A pane for each rank with its last lines; the cursor is a pane."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l,right", "move(1)", "next rank", show=False),
        Binding("h,left", "move(-1)", "rank before", show=False),
        Binding("j,down", "move_row(1)", "rank below", show=False),
        Binding("k,up", "move_row(-1)", "rank above", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="grid")
        self._ranks: Sequence[RankView] = ()
        self._tails: dict[int, Tail] = {}
        self._differing: frozenset[int] = frozenset()

    def show_ranks(
        self, ranks: Sequence[RankView], tails: dict[int, Tail], odd: frozenset[int]
    ) -> None:
        """Show these ranks."""
        self._ranks, self._tails, self._differing = ranks, tails, odd
        self.repaint()

    @property
    def rank(self) -> int | None:
        """The number of the rank under the cursor."""
        return self._ranks[self.cursor].rank if self.cursor < len(self._ranks) else None

    def row_count(self) -> int:
        """Return the number of panes."""
        return len(self._ranks)

    @property
    def rows_in_view(self) -> int:
        """How many panes fit."""
        layout = self._layout()
        return max(1, self.size.height // layout.height) * layout.columns

    def _layout(self) -> Layout:
        return lay_out(len(self._ranks), self.size.width, self.size.height)

    def keep_in_view(self) -> None:
        """Bring the cursor's row of panes into view; `top` is the first pane of a row."""
        layout = self._layout()
        self.cursor = min(max(0, self.cursor), max(0, len(self._ranks) - 1))
        rows = max(1, self.size.height // layout.height)
        row, top = self.cursor // layout.columns, self.top // layout.columns
        top = min(max(top, row - rows + 1), row)
        self.top = max(0, min(top, layout.rows - rows)) * layout.columns

    def draw_line(self, y: int, width: int) -> Strip:
        """Draw one line of all panes beside each other."""
        layout = self._layout()
        row, line = divmod(y, layout.height)
        first = self.top + row * layout.columns
        panes = self._ranks[first : first + layout.columns]
        if not panes:
            return BLANK.adjust_cell_length(width)
        parts: list[tuple[str, Style]] = []
        for index, rank in enumerate(panes, first):
            if line == 0:
                parts += self._title(rank, layout.width, is_chosen=index == self.cursor)
            else:
                parts.append(self._line(rank, line, layout))
            parts.append(("│", DIM) if index - first < layout.columns - 1 else ("", PLAIN))
        return strip_of(parts, width)

    def _title(self, rank: RankView, width: int, *, is_chosen: bool) -> list[tuple[str, Style]]:
        state, style = outcome(rank)
        if rank.rank in self._differing:
            state = f"! {state}".rstrip()
        text = fit(f"{rank.rank} {rank.node}", max(0, width - len(state) - 1))
        if is_chosen:
            return [(fit(f"{text} {state}", width), CURSOR)]
        return [(text, BOLD), (" ", PLAIN), (state, style)]

    def _line(self, rank: RankView, line: int, layout: Layout) -> tuple[str, Style]:
        tail = self._tails.get(rank.rank)
        if tail is None:
            return " " * layout.width, PLAIN
        shown = layout.height - 1
        lines = tail.lines[-shown:]
        if tail.unfinished:
            lines = (*lines, tail.unfinished)[-shown:]
        # The newest line stands at the bottom, as in a terminal that has scrolled.
        index = line - 1 - max(0, shown - len(lines)) if len(tail.lines) >= shown else line - 1
        text = output_text(lines[index]) if 0 <= index < len(lines) else ""
        return fit(text, layout.width), PLAIN

    def action_move_row(self, rows: int) -> None:
        """Go to the pane below or above."""
        self.move_to(self.cursor + rows * self._layout().columns)

    def on_click(self, event: events.Click) -> None:
        """Choose the pane under the mouse; the second click of two opens it."""
        layout = self._layout()
        column = min(layout.columns - 1, event.x // (layout.width + 1))
        index = self.top + (event.y // layout.height) * layout.columns + column
        if index < len(self._ranks):
            self.move_to(index)
            if event.chain == 2:
                self.post_message(self.Chosen())

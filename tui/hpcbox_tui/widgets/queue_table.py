"""The queue as a table: any number of rows, drawn as they come into view."""

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.strip import Strip

from hpcbox.views import Job, Queue
from hpcbox_tui.columns import Column, columns_for, draw_cells
from hpcbox_tui.queue_rows import ORDERS, ArrayRow, Row, arrange, jobs_of, row_id
from hpcbox_tui.styles import DIM, MARKED, PLAIN, TITLE
from hpcbox_tui.text import fit, fit_right
from hpcbox_tui.widgets.lines import Lines, strip_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.style import Style


class QueueTable(Lines):
    """Jobs and folded arrays; marks and the cursor belong to jobs, never to row numbers.

    Attributes:
        filter_text: what is shown (filters.py).
        order: what rows are sorted by (queue_rows.ORDERS).
        descending: whether the largest comes first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "unfold(True)", "unfold", show=False),
        Binding("left", "unfold(False)", "fold", show=False),
        Binding("space", "mark", "mark"),
        Binding("ctrl+backslash", "clear_marks", "clear marks", show=False),
        Binding("o", "next_order", "sort", show=False),
        Binding("O", "reverse_order", "reverse", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="queue")
        self.title_rows = 1
        self.filter_text = ""
        self.order = ""
        self.descending = False
        self._queue: Queue | None = None
        self._rows: list[Row] = []
        self._unfolded: set[int] = set()
        self._marked: set[str] = set()
        self._age = 0.0
        self._laid_out: tuple[int, list[tuple[Column, int]]] | None = None

    # What it shows.

    def show_queue(self, queue: Queue, age_seconds: float) -> None:
        """Show another queue; the cursor stays on its job."""
        self._queue, self._age = queue, age_seconds
        if self._marked:
            self._marked &= {job.key for job in queue.jobs}
        self._arrange()

    def show_age(self, age_seconds: float) -> None:
        """Let running jobs' times go on."""
        self._age = age_seconds
        self.repaint()

    def show_filter(self, text: str) -> None:
        """Show what a filter keeps."""
        self.filter_text = text
        self._arrange()

    def _arrange(self) -> None:
        current = self.current()
        jobs: Sequence[Job] = () if self._queue is None else self._queue.jobs
        self._rows = arrange(
            jobs,
            text=self.filter_text,
            order=self.order,
            descending=self.descending,
            unfolded=self._unfolded,
        )
        if current is not None:
            self._stay_on(row_id(current))
        self.repaint()
        self.post_message(self.Moved())

    def _stay_on(self, name: str) -> None:
        if self.cursor < len(self._rows) and row_id(self._rows[self.cursor]) == name:
            return
        for index, row in enumerate(self._rows):
            if row_id(row) == name:
                self.top += index - self.cursor
                self.cursor = index
                return

    # What keys are for.

    def current(self) -> Row | None:
        """Return the row under the cursor."""
        return self._rows[self.cursor] if self.cursor < len(self._rows) else None

    def chosen_keys(self) -> tuple[str, ...]:
        """Return the keys of the marked jobs, or of those under the cursor when none is marked."""
        if self._marked and self._queue is not None:
            return tuple(job.key for job in self._queue.jobs if job.key in self._marked)
        row = self.current()
        return () if row is None else tuple(job.key for job in jobs_of(row))

    def chosen_job(self) -> str:
        """Return the job under the cursor as Slurm is asked for it, "" for none."""
        row = self.current()
        if row is None:
            return ""
        job = jobs_of(row)[0]
        # "12_[4-20]" is no job yet.
        return str(job.job_id) if "[" in job.key else job.key

    def marked_count(self) -> int:
        """Return how many jobs are marked."""
        return len(self._marked)

    # Drawing.

    def row_count(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def _columns(self, width: int) -> list[tuple[Column, int]]:
        if self._laid_out is None or self._laid_out[0] != width:
            self._laid_out = (width, columns_for(width - 2))
        return self._laid_out[1]

    def draw_line(self, y: int, width: int) -> Strip:
        """Draw a line; an empty queue says what to do."""
        if y == self.title_rows and not self._rows and self._queue is not None:
            if self.filter_text:
                text = "  no job is like that — esc drops the filter"
            else:
                text = "  no jobs — a changes between mine and everybody's"
            return strip_of([(fit(text, width), DIM)], width)
        return super().draw_line(y, width)

    def draw_title(self, line: int, width: int) -> Strip:  # noqa: ARG002 - there is one
        """Draw the columns' titles with the sort order's sign."""
        parts: list[tuple[str, Style]] = [("  ", PLAIN)]
        for column, cells in self._columns(width):
            title = column.title
            if column.order and column.order == self.order:
                title += "▾" if self.descending else "▴"
            parts.append(((fit_right if column.is_number else fit)(title, cells), TITLE))
            parts.append((" ", PLAIN))
        return strip_of(parts, width)

    def draw_row(self, index: int, width: int) -> Strip:
        """Draw a job or an array."""
        row = self._rows[index]
        is_marked = bool(self._marked) and all(job.key in self._marked for job in jobs_of(row))
        mark = ("● ", MARKED) if is_marked else ("  ", PLAIN)
        return strip_of([mark, *draw_cells(row, self._columns(width), self._age)], width)

    # Actions.

    def action_unfold(self, is_open: bool) -> None:  # noqa: FBT001 - from a binding
        """Show or hide the lines of the array under the cursor."""
        row = self.current()
        if row is None:
            return
        job_id = row.job_id if isinstance(row, ArrayRow) else jobs_of(row)[0].job_id
        if is_open:
            self._unfolded.add(job_id)
        elif job_id in self._unfolded:
            self._unfolded.discard(job_id)
            if not isinstance(row, ArrayRow):
                self._arrange()
                self._stay_on(f"{job_id}_*")
        self._arrange()

    def action_mark(self) -> None:
        """Mark or unmark what is under the cursor, and go on to the next row."""
        row = self.current()
        if row is None:
            return
        keys = {job.key for job in jobs_of(row)}
        if keys <= self._marked:
            self._marked -= keys
        else:
            self._marked |= keys
        self.move_to(self.cursor + 1)

    def action_clear_marks(self) -> None:
        """Unmark everything."""
        self._marked.clear()
        self._arrange()

    def action_next_order(self) -> None:
        """Sort by the next column."""
        names = list(ORDERS)
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self._arrange()

    def sort_by(self, order: str) -> None:
        """Sort by a column (queue_rows.ORDERS)."""
        self.order = order
        self._arrange()

    def action_reverse_order(self) -> None:
        """Turn the order round."""
        self.descending = not self.descending
        self._arrange()

"""The queue: what waits, what runs, where, in which image."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.widget import Widget

from hpcbox.views import Queue, Wanted
from hpcbox_tui.messages import CancelDone, QueueChanged
from hpcbox_tui.queue_rows import ORDERS, ArrayRow, count_states
from hpcbox_tui.screens.frame import Frame
from hpcbox_tui.styles import DIM, MARKED, PLAIN, WAITING
from hpcbox_tui.text import age, harmless
from hpcbox_tui.widgets.queue_table import QueueTable

if TYPE_CHECKING:
    from hpcbox_tui.feed.queue import QueueWatcher

# What an eye takes for "now".
_FRESH_SECONDS = 1.0


class QueueScreen(Frame):
    """The first screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open"),
        Binding("slash", "filter", "filter", priority=True),
        Binding("x", "cancel", "cancel"),
        Binding("r", "ranks", "ranks"),
        Binding("l", "output", "output", show=False),
        Binding("a", "everybody", "all/mine"),
        Binding("y", "copy", "copy id", show=False),
        Binding("p", "pause", "pause asking", show=False),
        Binding("escape", "clear", "clear filter and marks", show=False),
        Binding("q", "app.quit", "quit", show=False),
    ]

    def __init__(self, user: str | None, *, everybody: bool) -> None:
        super().__init__()
        self._wanted = Wanted(user=None if everybody else user)
        self._me = user
        self._queue: Queue | None = None
        self._counts = ""
        self._problem = ""
        self._asking = True
        self._watcher: QueueWatcher | None = None

    def body(self) -> Iterable[Widget]:
        """One table."""
        yield QueueTable()

    @property
    def table(self) -> QueueTable:
        """The table."""
        return self.query_one(QueueTable)

    def on_mount(self) -> None:
        """Start asking."""
        self._watcher = self.hpcbox.feed.watch_queue(self.post_message, self._wanted)
        self.set_interval(1.0, self._tick)
        self._show_state()

    def on_unmount(self) -> None:
        """Stop asking."""
        if self._watcher is not None:
            self._watcher.close()

    def on_screen_resume(self) -> None:
        """Ask as often as usual."""
        super().on_screen_resume()
        if self._watcher is not None:
            self._watcher.is_idle = False
            self._watcher.wake()

    def on_screen_suspend(self) -> None:
        """Ask less often below another screen."""
        if self._watcher is not None:
            self._watcher.is_idle = True

    # What the feed says.

    def on_queue_changed(self, message: QueueChanged) -> None:
        """Show the newest queue, or why there is none."""
        self._problem, self._asking = message.problem, message.asking
        if message.queue is not None and message.queue is not self._queue:
            self._queue = message.queue
            self._counts = count_states(message.queue.jobs)
            self.table.show_queue(message.queue, self._age())
        self._show_state()

    def on_cancel_done(self, message: CancelDone) -> None:
        """Say what came of a cancel."""
        self.say(describe_cancel(message))
        if self._watcher is not None:
            self._watcher.wake()

    def _age(self) -> float:
        return 0.0 if self._queue is None else self.hpcbox.feed.clock() - self._queue.taken_at

    def _tick(self) -> None:
        if self.is_current:
            if self._queue is not None:
                self.table.show_age(self._age())
            self._show_state()

    def on_lines_moved(self) -> None:
        """Show where the cursor is."""
        self._show_state()

    def _show_state(self) -> None:
        queue, table = self._queue, self.table
        left: list[tuple[str, Style]] = []
        if queue is not None:
            whose = (
                "everybody's jobs" if self._wanted.user is None else f"{self._wanted.user}'s jobs"
            )
            left.append((f" {harmless(queue.cluster)} · {harmless(whose)}", PLAIN))
            left.append((f" · {self._counts}" if self._counts else " · none", PLAIN))
        if table.filter_text:
            left.append((f" · /{harmless(table.filter_text)}", WAITING))
        if table.marked_count():
            left.append((f" · {table.marked_count()} marked", MARKED))
        self.show_heading(left, self._freshness())
        self.show_problem(self._problem)

    def _freshness(self) -> list[tuple[str, Style]]:
        right: list[tuple[str, Style]] = []
        if self._asking and not self._problem:
            right.append(("asking Slurm …", DIM))
        if self._watcher is not None and self._watcher.is_paused:
            right.append((" paused", WAITING))
        if self._queue is not None:
            seconds = self._age()
            text = "now" if seconds < _FRESH_SECONDS else f"{age(seconds)} old"
            right.append((f" · data {text}" if right else f"data {text}", PLAIN))
        return right

    # Filter and commands.

    def typed(self, purpose: str, value: str) -> None:
        """Filter while it is typed."""
        if purpose == "filter":
            self.table.show_filter(value)

    def entered(self, purpose: str, value: str | None) -> None:
        """Keep the filter, or drop it."""
        if purpose == "filter":
            self.table.show_filter(value or "")

    def command_arguments(self) -> dict[str, list[str]]:
        """Jobs in the queue, and columns."""
        jobs = () if self._queue is None else self._queue.jobs[:1000]
        keys = [job.key for job in jobs]
        return {"job": keys, "ranks": keys, "sort": [name for name in ORDERS if name]}

    def sort_by(self, order: str) -> None:
        """Sort by a column."""
        self.table.sort_by(order)

    def show_everybody(self, everybody: bool) -> None:  # noqa: FBT001 - what it is about
        """Ask for everybody's jobs, or only mine."""
        self._wanted = Wanted(user=None if everybody else self._me)
        self._asking = True
        if self._watcher is not None:
            self._watcher.want(self._wanted)
        self._show_state()

    # Keys.

    def action_open(self) -> None:
        """Open a job, or unfold an array."""
        row = self.table.current()
        if isinstance(row, ArrayRow):
            self.table.action_unfold(not row.is_open)
        elif row is not None:
            self.hpcbox.open_job(self.table.chosen_job())

    def on_lines_chosen(self) -> None:
        """Open what was clicked on twice."""
        self.action_open()

    def show_rank(self, rank: int | None) -> None:
        """Show a rank of the job under the cursor (`:rank`)."""
        job = self.table.chosen_job()
        if job:
            self.hpcbox.open_job(job, then="ranks" if rank is None else f"rank {rank}")

    def show_output(self) -> None:
        """Show what the script of the job under the cursor prints (`:log`)."""
        self.action_output()

    def action_ranks(self) -> None:
        """Show what the ranks of a job print."""
        job = self.table.chosen_job()
        if job:
            self.hpcbox.open_job(job, then="ranks")

    def action_output(self) -> None:
        """Show what a job's script prints."""
        job = self.table.chosen_job()
        if job:
            self.hpcbox.open_job(job, then="log")

    def action_filter(self) -> None:
        """Type a filter."""
        self.ask("filter", "/", self.table.filter_text)

    def action_cancel(self) -> None:
        """Cancel the marked jobs, or the one under the cursor, after a question."""
        self.hpcbox.ask_to_cancel(self.table.chosen_keys())

    def action_copy(self) -> None:
        """Copy the job ids."""
        self.hpcbox.copy(" ".join(self.table.chosen_keys()))

    def action_everybody(self) -> None:
        """Everybody's jobs, or only mine."""
        self.show_everybody(self._wanted.user is not None)

    def action_pause(self) -> None:
        """Stop asking Slurm, or go on."""
        if self._watcher is not None:
            self._watcher.is_paused = not self._watcher.is_paused
            self._watcher.wake()
            self._show_state()

    def action_look_again(self) -> None:
        """Ask Slurm now."""
        if self._watcher is not None:
            self._watcher.wake()

    def action_clear(self) -> None:
        """Drop filter and marks; never leaves the screen."""
        self.table.show_filter("")
        self.table.action_clear_marks()


def describe_cancel(message: CancelDone) -> str:
    """Return one line about what came of a cancel."""
    if message.outcome is None:
        return f"not cancelled: {message.problem}"
    sent, gone = message.outcome.sent, message.outcome.gone
    parts = []
    if sent:
        parts.append(f"cancelled {' '.join(sent)}")
    if gone:
        parts.append(f"{' '.join(gone)} {'was' if len(gone) == 1 else 'were'} gone already")
    return ", ".join(parts) or "nothing was cancelled"

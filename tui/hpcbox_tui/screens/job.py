"""One job: its nodes with the state of their containers, what it asked for and uses, its steps."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from hpcbox.views import StepFolder
from hpcbox_tui.job_rows import STEP, job_rows
from hpcbox_tui.messages import CancelDone, JobChanged
from hpcbox_tui.screens.frame import Frame
from hpcbox_tui.screens.queue import describe_cancel
from hpcbox_tui.styles import BOLD, DIM, PLAIN
from hpcbox_tui.text import age, duration, harmless
from hpcbox_tui.widgets.lines import TextLines

if TYPE_CHECKING:
    from rich.style import Style

    from hpcbox_tui.feed.job import JobWatcher


class JobScreen(Frame):
    """Shows one job until it is left; what was seen last stays when the job has gone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open"),
        Binding("r", "ranks", "ranks"),
        Binding("l", "output('stdout')", "output"),
        Binding("e", "output('stderr')", "errors", show=False),
        Binding("x", "cancel", "cancel"),
        Binding("y", "copy", "copy id", show=False),
    ]

    def __init__(self, job: str, *, then: str = "") -> None:
        super().__init__()
        self._job = job
        self._then = then
        self._last: JobChanged | None = None
        self._watcher: JobWatcher | None = None

    def body(self) -> Iterable[Widget]:
        """One list."""
        yield TextLines(id="job")

    def on_mount(self) -> None:
        """Start asking."""
        self._watcher = self.hpcbox.feed.watch_job(self.post_message, self._job)
        self.set_interval(1.0, self._show)
        self._show()

    def on_unmount(self) -> None:
        """Stop asking."""
        if self._watcher is not None:
            self._watcher.close()

    # What the feed says.

    def on_job_changed(self, message: JobChanged) -> None:
        """Show the newest state."""
        self._last = message
        self._show()
        then, self._then = self._then, ""
        if then == "ranks" and message.steps:
            self.action_ranks()
        elif then == "ranks":
            self.say("its ranks have left no output on disk")
        elif then == "log":
            self.action_output("stdout")
        elif then.startswith("rank "):
            self.show_rank(int(then.removeprefix("rank ")))

    def on_cancel_done(self, message: CancelDone) -> None:
        """Say what came of a cancel."""
        self.say(describe_cancel(message))
        self.action_look_again()

    def on_resize(self) -> None:
        """Lay the rows out anew."""
        self._show()

    def _show(self) -> None:
        last = self._last
        left: list[tuple[str, Style]] = [(f" job {harmless(self._job)}", PLAIN)]
        right: list[tuple[str, Style]] = []
        if last is None:
            self.show_heading(left, [("asking Slurm …", DIM)])
            return
        now = self.hpcbox.feed.clock()
        if last.detail is not None:
            job = last.detail.job
            gone = now - last.taken_at if job.state == "RUNNING" and not last.problem else 0
            left.append((f" {harmless(job.name)}", PLAIN))
            left.append((f" · {harmless(job.state)}", BOLD))
            if job.elapsed_seconds or job.is_running:
                limit = "" if job.limit_seconds is None else f" of {duration(job.limit_seconds)}"
                left.append((f" · {duration(job.elapsed_seconds + gone)}{limit}", PLAIN))
        self.show_problem(last.problem)
        if last.detail is not None:
            seconds = now - last.taken_at
            right.append((f"data {'now' if seconds < 3 else age(seconds) + ' old'}", PLAIN))
        self.show_heading(left, right)
        rows = job_rows(last.detail, last.view, last.steps, self.size.width, now)
        self.query_one("#job", TextLines).show_rows(rows)

    # Keys.

    def command_arguments(self) -> dict[str, list[str]]:
        """The ranks that there are."""
        view = None if self._last is None else self._last.view
        return {"rank": [] if view is None else [str(rank.rank) for rank in view.ranks]}

    def _folder(self) -> StepFolder | None:
        """Return the folder of the step under the cursor, else of the newest."""
        steps = () if self._last is None else self._last.steps
        target = self.query_one("#job", TextLines).target or ""
        for step in steps:
            if target == f"{STEP}{step.job}.{step.step}":
                return step
        return steps[-1] if steps else None

    def action_open(self) -> None:
        """Show the ranks of the step under the cursor, or the script's output."""
        target = self.query_one("#job", TextLines).target or ""
        if target.endswith(".batch"):
            self.action_output("stdout")
        else:
            self.action_ranks()

    def on_lines_chosen(self) -> None:
        """Open what was clicked on twice."""
        self.action_open()

    def action_ranks(self) -> None:
        """Show what ranks print."""
        self.show_rank(None)

    def show_rank(self, rank: int | None) -> None:
        """Show the ranks, one of them chosen (`:rank`)."""
        folder = self._folder()
        if folder is None:
            self.say("its ranks have left no output on disk")
        else:
            self.hpcbox.open_ranks(folder, rank)

    def show_output(self) -> None:
        """Show what the script prints (`:log`)."""
        self.action_output("stdout")

    def action_output(self, which: str) -> None:
        """Show what the script prints."""
        detail = None if self._last is None else self._last.detail
        path = "" if detail is None else getattr(detail, which)
        if path:
            self.hpcbox.open_log(path)
        else:
            self.say(f"Slurm knows of no {which} file of this job")

    def action_cancel(self) -> None:
        """Cancel this job, after a question."""
        self.hpcbox.ask_to_cancel((self._job,))

    def action_copy(self) -> None:
        """Copy the job's id."""
        self.hpcbox.copy(self._job)

    def action_look_again(self) -> None:
        """Ask Slurm now."""
        if self._watcher is not None:
            self._watcher.ask_now()

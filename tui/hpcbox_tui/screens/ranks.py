"""The ranks of a step: a cell for each, and their output side by side, merged, or compared."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from hpcbox.views import ERR, OUT, StepFolder
from hpcbox_tui.diff_rows import RANK, diff_rows
from hpcbox_tui.job_rows import rank_counts
from hpcbox_tui.messages import CancelDone, RanksChanged
from hpcbox_tui.rank_looks import newest_output, odd_ranks, sign
from hpcbox_tui.screens.frame import Frame
from hpcbox_tui.screens.queue import describe_cancel
from hpcbox_tui.styles import BUSY, DIM, PLAIN, WAITING
from hpcbox_tui.text import harmless
from hpcbox_tui.widgets.lines import Lines, TextLines
from hpcbox_tui.widgets.merged_view import MergedView
from hpcbox_tui.widgets.rank_grid import RankGrid
from hpcbox_tui.widgets.rank_strip import RankStrip

if TYPE_CHECKING:
    from rich.style import Style

    from hpcbox_tui.feed.ranks import RanksWatcher


class RanksScreen(Frame):
    """Shows one step's ranks; three views of the same."""

    AUTO_FOCUS = "#grid"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "whole output"),
        Binding("m", "view('merged')", "merged"),
        Binding("d", "view('diff')", "differences"),
        Binding("tab", "next_view", "next view", show=False),
        Binding("slash", "filter", "filter merged", show=False, priority=True),
        Binding("e", "open_errors", "error output", show=False),
        Binding("x", "cancel", "cancel job"),
        Binding("y", "copy", "copy id", show=False),
    ]
    VIEWS = ("grid", "merged", "diff")

    def __init__(self, folder: StepFolder, rank: int | None = None) -> None:
        super().__init__()
        self._folder = folder
        self._wanted_rank = rank
        self._shown = "grid"
        self._last: RanksChanged | None = None
        self._watcher: RanksWatcher | None = None

    def body(self) -> Iterable[Widget]:
        """The strip, and three views of which one is shown."""
        yield RankStrip()
        yield RankGrid()
        merged, diff = MergedView(), TextLines(id="diff")
        merged.display = diff.display = False
        yield merged
        yield diff

    @property
    def grid(self) -> RankGrid:
        """The panes."""
        return self.query_one(RankGrid)

    @property
    def merged(self) -> MergedView:
        """The lines by time."""
        return self.query_one(MergedView)

    @property
    def diff(self) -> TextLines:
        """The comparison."""
        return self.query_one("#diff", TextLines)

    def on_mount(self) -> None:
        """Start reading."""
        self._watcher = self.hpcbox.feed.watch_ranks(self.post_message, self._folder.folder)
        self.set_interval(1.0, self._show)

    def on_unmount(self) -> None:
        """Stop reading."""
        if self._watcher is not None:
            self._watcher.close()

    # What the feed says.

    def on_ranks_changed(self, message: RanksChanged) -> None:
        """Show what is new."""
        self._last = message
        self._show()
        if self._wanted_rank is not None and message.view.ranks:
            wanted, self._wanted_rank = self._wanted_rank, None
            self.choose_rank(wanted)

    def on_cancel_done(self, message: CancelDone) -> None:
        """Say what came of a cancel."""
        self.say(describe_cancel(message))

    def on_resize(self) -> None:
        """Lay everything out anew."""
        self._show()

    def _show(self) -> None:
        last = self._last
        if last is None:
            self.show_heading([(f" step {self._folder.job}.{self._folder.step}", PLAIN)])
            return
        view, now = last.view, self.hpcbox.feed.clock()
        odd = odd_ranks(last.groups)
        if self._shown == "grid":
            self.grid.show_ranks(view.ranks, last.tails, odd)
        elif self._shown == "merged":
            self.merged.show_lines(last.merged, len(view.ranks))
        else:
            self.diff.show_rows(diff_rows(view.ranks, last.groups, self.size.width, now))
        newest = newest_output(view.ranks)
        signs = [sign(rank, now, newest, odd) for rank in view.ranks]
        numbers = [rank.rank for rank in view.ranks]
        chosen = numbers.index(self.rank) if self.rank in numbers else -1
        self.query_one(RankStrip).show_signs(signs, chosen)
        self._show_state(last)

    def _show_state(self, last: RanksChanged) -> None:
        view = last.view
        left: list[tuple[str, Style]] = [
            (f" step {harmless(self._folder.job)}.{harmless(self._folder.step)}", PLAIN),
            (f" · {rank_counts(view.ranks) or 'no rank yet'}", PLAIN),
        ]
        if view.facts.image:
            left.append((f" · {harmless(view.facts.image)}", DIM))
        pulling = [node for node in view.nodes if node.state == "pulling"]
        if pulling:
            left.append((f" · {len(pulling)} of {len(view.nodes)} nodes pull", BUSY))
        self.show_problem(view.problems[-1] if view.problems else "")
        right: list[tuple[str, Style]] = []
        if self._shown == "diff" and last.compared < 1:
            right.append((f"compared {last.compared:.0%}", BUSY))
        if self._shown == "merged" and not self.merged.follows:
            right.append(("stopped, F follows", WAITING))
        right.append((" ended" if view.has_ended else "", DIM))
        self.show_heading(left, right)

    # Which rank.

    @property
    def rank(self) -> int | None:
        """The number of the rank that keys are for."""
        if self._shown == "grid":
            return self.grid.rank
        if self._shown == "merged":
            return self.merged.rank
        target = self.diff.target
        return int(target.removeprefix(RANK)) if target else None

    def choose_rank(self, rank: int) -> None:
        """Put the grid's cursor on a rank."""
        numbers = [] if self._last is None else [found.rank for found in self._last.view.ranks]
        if rank not in numbers:
            self.say(f"there is no rank {rank} in this step")
            return
        self.action_view("grid", toggle=False)
        self.grid.move_to(numbers.index(rank))

    def command_arguments(self) -> dict[str, list[str]]:
        """The ranks that there are."""
        ranks = () if self._last is None else self._last.view.ranks
        return {"rank": [str(rank.rank) for rank in ranks]}

    def on_lines_moved(self) -> None:
        """Show which rank it is in the strip."""
        self._show()

    def show_rank(self, rank: int | None) -> None:
        """Put the grid's cursor on a rank (`:rank`)."""
        if rank is not None:
            self.choose_rank(rank)

    def show_output(self) -> None:
        """Show everything a rank has printed (`:log`)."""
        self.action_open()

    # Keys.

    def action_view(self, name: str, *, toggle: bool = True) -> None:
        """Show another view; the same key again goes back to the grid."""
        self._shown = "grid" if toggle and name == self._shown else name
        for view in self.query(Lines):
            view.display = view.id == self._shown
            if view.display:
                self.set_focus(view)
        if self._watcher is not None:
            if self._shown == "merged":
                self._watcher.show_merged()
            elif self._shown == "diff":
                self._watcher.show_groups()
        self._show()
        self.show_hints()

    def action_next_view(self) -> None:
        """Show the next of the three views."""
        index = self.VIEWS.index(self._shown)
        self.action_view(self.VIEWS[(index + 1) % len(self.VIEWS)], toggle=False)

    def action_open(self) -> None:
        """Show everything a rank has printed."""
        self._open(OUT, "")

    def action_open_errors(self) -> None:
        """Show what a rank has printed on its error output."""
        self._open(ERR, " errors")

    def on_lines_chosen(self) -> None:
        """Open what was clicked on twice."""
        self.action_open()

    def _open(self, stream: int, title: str) -> None:
        rank = self.rank
        if rank is not None and self._watcher is not None:
            step = f"{self._folder.job}.{self._folder.step}"
            path = self._watcher.path(rank, stream)
            self.hpcbox.open_log(path, f"{step} rank {rank}{title}")

    def action_filter(self) -> None:
        """Type what merged lines must have."""
        self.action_view("merged", toggle=False)
        self.ask("filter", "/")

    def typed(self, purpose: str, value: str) -> None:
        """Filter while it is typed."""
        if purpose == "filter":
            self.merged.show_filter(value)

    def entered(self, purpose: str, value: str | None) -> None:
        """Keep the filter, or drop it."""
        if purpose == "filter":
            self.merged.show_filter(value or "")

    def action_cancel(self) -> None:
        """Cancel the job, after a question."""
        self.hpcbox.ask_to_cancel((self._folder.job,))

    def action_copy(self) -> None:
        """Copy the step's id."""
        self.hpcbox.copy(f"{self._folder.job}.{self._folder.step}")

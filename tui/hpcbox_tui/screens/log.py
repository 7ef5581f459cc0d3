"""A log: its end while it grows, any other place of it, and what is searched for."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.widget import Widget

from hpcbox_tui.messages import LogChanged
from hpcbox_tui.screens.frame import Frame
from hpcbox_tui.styles import GOOD, PLAIN, WAITING
from hpcbox_tui.text import amount, harmless
from hpcbox_tui.widgets.log_pane import LogPane

if TYPE_CHECKING:
    from rich.style import Style

    from hpcbox_tui.feed.log import LogWatcher

_SIDEWAYS_CELLS = 20


class LogScreen(Frame):
    """Shows one file until it is left; all reading is the feed's."""

    AUTO_FOCUS = "LogPane"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "search", priority=True),
        Binding("n", "again(True)", "next"),
        Binding("N", "again(False)", "before", show=False),
        Binding("F", "follow", "follow"),
        Binding("j,down", "move(1)", "down", show=False),
        Binding("k,up", "move(-1)", "up", show=False),
        Binding("ctrl+d,pagedown,space", "page(1)", "page down", show=False),
        Binding("ctrl+u,pageup", "page(-1)", "page up", show=False),
        Binding("g,home", "first", "start", show=False),
        Binding("G,end", "last", "end", show=False),
        Binding("right,greater_than_sign", "sideways(1)", "right", show=False),
        Binding("left,less_than_sign", "sideways(-1)", "left", show=False),
        Binding("y", "copy", "copy path", show=False),
    ]

    def __init__(self, path: str, title: str) -> None:
        super().__init__()
        self._path = path
        self._title = title
        self._last: LogChanged | None = None
        self._follows = True
        self._watcher: LogWatcher | None = None

    def body(self) -> Iterable[Widget]:
        """One pane."""
        yield LogPane()

    @property
    def pane(self) -> LogPane:
        """The pane."""
        return self.query_one(LogPane)

    def on_mount(self) -> None:
        """Start reading."""
        self._watcher = self.hpcbox.feed.watch_log(self.post_message, self._path)
        self._show_state()

    def on_unmount(self) -> None:
        """Stop reading."""
        if self._watcher is not None:
            self._watcher.close()

    def on_resize(self) -> None:
        """Ask for as many lines as there is room for."""
        if self._watcher is not None:
            self._watcher.show_rows(self.size.height - 2)

    # What the feed says.

    def on_log_changed(self, message: LogChanged) -> None:
        """Show what is in view."""
        self._last = message
        self.pane.show_lines(message.lines)
        self._show_state()

    def _show_state(self) -> None:
        last = self._last
        left: list[tuple[str, Style]] = [(f" {harmless(self._title)}", PLAIN)]
        right: list[tuple[str, Style]] = []
        if last is not None:
            is_gone = last.size_bytes is None
            self.show_problem(f"{last.note}: {self._path}" if is_gone else "")
            if last.note and not is_gone:
                right.append((f"{harmless(last.note)} · ", WAITING))
            if last.size_bytes is not None:
                end = last.lines[-1].offset + len(last.lines[-1].raw) if last.lines else 0
                share = 1.0 if last.at_end else end / max(1, last.size_bytes)
                right.append((f"{amount(last.size_bytes)} · {share:.0%}", PLAIN))
        if self.pane.column:
            right.append((f" · from column {self.pane.column}", PLAIN))
        if self._follows:
            right.append((" · follows", GOOD))
        self.show_heading(left, right)

    # Search.

    def entered(self, purpose: str, value: str | None) -> None:
        """Search for what was typed."""
        if purpose == "search" and value and self._watcher is not None:
            self.pane.mark(value)
            self._stop_following()
            self._watcher.search(value)

    def action_search(self) -> None:
        """Type what to search for."""
        self.ask("search", "/")

    def action_again(self, forward: bool) -> None:  # noqa: FBT001 - from a binding
        """Go to the next or the one before."""
        if self._watcher is not None:
            self._stop_following()
            self._watcher.search("", forward=forward)

    # Moving.

    def _stop_following(self) -> None:
        self._follows = False
        if self._watcher is not None:
            self._watcher.follow(False)
        self._show_state()

    def action_move(self, lines: int) -> None:
        """Go down or up; up stops following."""
        if self._watcher is None or (self._follows and lines > 0):
            return
        self._stop_following()
        self._watcher.move(lines)

    def action_page(self, pages: int) -> None:
        """Go down or up by what is in view."""
        self.action_move(pages * max(1, self.size.height - 3))

    def action_first(self) -> None:
        """Go to the first line."""
        if self._watcher is not None:
            self._stop_following()
            self._watcher.to_start()

    def action_last(self) -> None:
        """Go to the end, and stay there while the file grows."""
        if self._watcher is not None:
            self._follows = True
            self._watcher.follow(True)
            self._show_state()

    def action_follow(self) -> None:
        """Stay at the end, or stop it."""
        if self._follows:
            self._stop_following()
        else:
            self.action_last()

    def action_sideways(self, steps: int) -> None:
        """Show what is further right or left."""
        self.pane.go_sideways(steps * _SIDEWAYS_CELLS)
        self._show_state()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Go down by a few lines."""
        event.stop()
        self.action_move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Go up by a few lines."""
        event.stop()
        self.action_move(-3)

    def action_copy(self) -> None:
        """Copy the file's path."""
        self.hpcbox.copy(self._path)

"""Reads what is in view of a log: its end while it grows, any other place, what is searched for."""

import time
from collections import deque
from collections.abc import Callable

from hpcbox_tui.feed.log_file import LogFile
from hpcbox_tui.feed.log_search import Search
from hpcbox_tui.feed.watcher import Post, Watcher
from hpcbox_tui.messages import LogChanged

_LOOK_SECONDS = 0.03
_QUIET_LOOK_SECONDS = 0.12
_QUIET_SECONDS = 5.0
# How long a search has the thread before keys get their turn.
_SEARCH_SECONDS = 0.05


class LogWatcher(Watcher):
    """Tells a screen the lines in view; what keys ask for is done here, in turn."""

    def __init__(self, post: Post, path: str) -> None:
        super().__init__("hpcbox-log", post)
        self._file = LogFile(path)
        self._requests: deque[Callable[[], None]] = deque()
        self._rows = 24
        self._top = 0
        self._follows = True
        self._search: Search | None = None
        self._searched = ("", True)
        self._match: tuple[int, int] | None = None
        self._note = ""
        self._told: tuple[object, ...] = ()
        self._news_at = 0.0

    # What keys ask for; each returns at once.

    def show_rows(self, rows: int) -> None:
        """Tell so many lines from now on."""
        self._ask(lambda: setattr(self, "_rows", max(1, rows)))

    def move(self, lines: int) -> None:
        """Go down, or up where negative; up stops following."""
        self._ask(lambda: self._move(lines))

    def to_start(self) -> None:
        """Go to the first line."""
        self._ask(lambda: self._go(0))

    def follow(self, follows: bool) -> None:  # noqa: FBT001 - the one thing it is about
        """Stay at the end, or stay here."""
        self._ask(lambda: setattr(self, "_follows", follows))

    def search(self, text: str, *, forward: bool = True) -> None:
        """Go to the next line with a text; "" repeats the last search."""
        self._ask(lambda: self._begin_search(text, forward=forward))

    def _ask(self, request: Callable[[], None]) -> None:
        self._requests.append(request)
        self.wake()

    # What the thread does.

    def look(self) -> float:
        """Do what was asked for, look at the file, tell what is in view."""
        note = self._file.look()
        if note:
            self._note = note
            self._top = min(self._top, self._file.size)
        while self._requests:
            self._requests.popleft()()
        if self._search is not None:
            self._go_on_searching(self._search)
        self._tell_view()
        if self._search is not None or self._requests:
            return 0.0
        is_quiet = time.monotonic() - self._news_at > _QUIET_SECONDS
        return _QUIET_LOOK_SECONDS if is_quiet else _LOOK_SECONDS

    def _tell_view(self) -> None:
        file = self._file
        if self._follows:
            self._top = file.last_page(self._rows)
        state = (file.size, file.problem, self._top, self._rows, self._match, self._note)
        if state == self._told:
            return
        if self._told and file.size != self._told[0]:
            self._news_at = time.monotonic()
        self._told = state
        lines = tuple(file.lines(self._top, self._rows))
        end = lines[-1].offset + len(lines[-1].raw) if lines else self._top
        self.tell(
            LogChanged(
                lines,
                None if file.problem else file.size,
                end + 1 >= file.size,
                self._match,
                file.problem or self._note,
            )
        )

    def _go(self, offset: int) -> None:
        self._top, self._follows, self._note = offset, False, ""

    def _move(self, lines: int) -> None:
        if lines < 0:
            self._go(self._file.back(self._top, -lines))
            return
        below = self._file.lines(self._top, lines + 1)
        last = self._file.last_page(self._rows)
        self._go(min(below[-1].offset, last) if below else last)

    def _begin_search(self, text: str, *, forward: bool) -> None:
        again = not text
        text = text or self._searched[0]
        if not text:
            return
        self._searched = (text, forward)
        if self._match is not None and again:
            start = self._match[0] + (1 if forward else 0)
        else:
            start = self._top if forward else self._top + 1
        self._search = Search(self._file, text, start, forward=forward)

    def _go_on_searching(self, search: Search) -> None:
        end = time.monotonic() + _SEARCH_SECONDS
        while not search.is_over and time.monotonic() < end and not self._requests:
            search.step()
        if not search.is_over:
            self._note = f"searching {search.share:.0%}"
            return
        if search.match is None and not search.has_wrapped:
            self._search = search.wrapped()
            return
        self._search = None
        if search.match is None:
            self._note = "nothing found"
            return
        self._match = search.match
        line = self._file.line_start(search.match[0])
        self._go(self._file.back(line, self._rows // 3))
        if search.has_wrapped:
            self._note = "search went on from the " + ("start" if search.forward else "end")

    def finish(self) -> None:
        """Close the file."""
        self._file.close()

"""The question before jobs are cancelled: which ones, and by which command."""

import shlex
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from hpcbox.errors import RequestError
from hpcbox.views import expand
from hpcbox_tui.styles import BAD, BOLD, DIM, PLAIN
from hpcbox_tui.text import harmless
from hpcbox_tui.widgets.lines import TextLines, TextRow

_MOST_WIDTH = 76


def wrapped(words: Sequence[str], width: int) -> list[str]:
    """Return the words on lines of at most `width` cells; a longer word has a line of its own."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def job_count(keys: Sequence[str]) -> int:
    """Return how many jobs the keys stand for: "4_[7-9]" are three (scancel(1))."""
    count = 0
    for key in keys:
        try:
            count += len(expand(key))
        except RequestError:
            count += 1
    return count


class CancelScreen(ModalScreen[bool]):
    """Answers whether to cancel; the jobs are named by their ids, whatever the queue does."""

    AUTO_FOCUS = "TextLines"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "cancel them"),
        Binding("n,escape,q,enter", "answer(False)", "leave them"),
    ]

    def __init__(self, keys: Sequence[str], command: Sequence[str]) -> None:
        super().__init__()
        self._keys = keys
        self._command = command

    def compose(self) -> ComposeResult:
        """One box."""
        yield TextLines(id="question")

    def on_mount(self) -> None:
        """Write the question."""
        self._lay_out()

    def on_resize(self) -> None:
        """Write it for another width."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = max(10, min(_MOST_WIDTH, self.app.size.width - 6))
        count = job_count(self._keys)
        what = "Cancel this job?" if count == 1 else f"Cancel these {count} jobs?"
        rows = [TextRow(((what, BAD),))]
        ids = wrapped([harmless(key) for key in self._keys], width)
        command = wrapped(["$", *(harmless(shlex.quote(word)) for word in self._command)], width)
        # The question itself always stays in view; a list may be longer than the screen.
        room = max(1, (self.app.size.height - 9) // 2)
        for lines, style in ((ids, BOLD), (command, DIM)):
            rows.append(TextRow((("", PLAIN),)))
            rows += [TextRow(((line, style),)) for line in lines[:room]]
            if len(lines) > room:
                rows.append(TextRow(((f"… and {len(lines) - room} lines more", DIM),)))
        rows.append(TextRow((("", PLAIN),)))
        rows.append(TextRow((("y", BOLD), (" cancels   ", PLAIN), ("n", BOLD), (" leaves", PLAIN))))
        box = self.query_one(TextLines)
        box.styles.width, box.styles.height = width + 4, len(rows) + 2
        box.show_rows(rows)

    def action_answer(self, yes: bool) -> None:  # noqa: FBT001 - from a binding
        """Give the answer."""
        self.dismiss(yes)

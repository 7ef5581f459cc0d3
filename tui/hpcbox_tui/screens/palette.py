"""What ctrl+p offers: the keys of the screen below it, the commands, and jobs by their number.

Textual's own palette shows its cursor by colours only, which nobody sees under NO_COLOR.
"""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.fuzzy import Matcher
from textual.screen import ModalScreen

from hpcbox_tui.commands import COMMANDS
from hpcbox_tui.screens.frame import Frame, key_name
from hpcbox_tui.styles import BOLD, DIM, PLAIN
from hpcbox_tui.text import fit
from hpcbox_tui.widgets.lines import TextLines, TextRow
from hpcbox_tui.widgets.prompt import Prompt

Action = Callable[[], Awaitable[object] | None]


class Entry(NamedTuple):
    """One thing to do: its name, a word on it, and how it is done."""

    text: str
    help: str
    run: Action


def entries_of(frame: Frame) -> Iterator[Entry]:
    """Give what can be done on a screen."""
    for binding, owner in frame.own_keys():
        if not binding.action.startswith(("move", "page", "first", "last", "sideways")):
            run: Action = partial(frame.app.run_action, binding.action, owner)
            yield Entry(binding.description, f"key {key_name(binding.key)}", run)
    for name, text in COMMANDS.items():
        needs_more = ":" in text and not text.startswith("[")
        run = partial(frame.ask, "command", ":", f"{name} ")
        yield Entry(
            f":{name}", text, run if needs_more else partial(frame.hpcbox.run_command, name)
        )


def matching(frame: Frame, query: str) -> list[Entry]:
    """Return what matches, the best first; a number is a job's."""
    if not query:
        return list(entries_of(frame))
    matcher = Matcher(query)
    scored = [(matcher.match(entry.text), entry) for entry in entries_of(frame)]
    found = [entry for score, entry in sorted(scored, key=lambda pair: -pair[0]) if score > 0]
    if query.isascii() and query.isdigit():
        found.insert(0, Entry(f"job {query}", "one job", partial(frame.hpcbox.open_job, query)))
    return found


class PaletteScreen(ModalScreen[Action]):
    """Answers with what to do, or None."""

    AUTO_FOCUS = "Prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,ctrl+n", "move(1)", "down", show=False, priority=True),
        Binding("up,ctrl+p", "move(-1)", "up", show=False, priority=True),
    ]

    def __init__(self, below: Frame) -> None:
        super().__init__()
        self._below = below
        self._found: list[Entry] = []

    def compose(self) -> ComposeResult:
        """A prompt above a list."""
        with Vertical(id="palette"):
            yield Prompt()
            yield TextLines(id="found")

    def on_mount(self) -> None:
        """Show everything there is."""
        self.query_one(Prompt).open("palette", "> ")
        self._show("")

    def _show(self, query: str) -> None:
        self._found = matching(self._below, query)
        rows = [
            TextRow(((fit(f" {entry.text}", 24), BOLD), (f" {entry.help} ", DIM)), str(index))
            for index, entry in enumerate(self._found)
        ]
        view = self.query_one(TextLines)
        view.cursor = 0
        view.show_rows(rows or [TextRow(((" nothing matches", PLAIN),))])

    def on_prompt_changed(self, message: Prompt.Changed) -> None:
        """Search while it is typed."""
        message.stop()
        self._show(message.value)

    def on_prompt_done(self, message: Prompt.Done) -> None:
        """Choose what the cursor is on."""
        message.stop()
        if message.value is None:
            self.dismiss(None)
        else:
            self._choose()

    def on_lines_chosen(self) -> None:
        """Choose what was clicked on twice."""
        self._choose()

    def _choose(self) -> None:
        target = self.query_one(TextLines).target
        self.dismiss(None if target is None else self._found[int(target)].run)

    def action_move(self, rows: int) -> None:
        """Move the cursor in the list; the prompt keeps the keys."""
        self.query_one(TextLines).action_move(rows)

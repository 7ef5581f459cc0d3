"""The keys of a screen, taken from its bindings, and the commands."""

from collections.abc import Iterable

from textual.widget import Widget

from hpcbox_tui.commands import COMMANDS
from hpcbox_tui.screens.frame import Frame, key_name
from hpcbox_tui.styles import BOLD, PLAIN, TITLE
from hpcbox_tui.text import fit
from hpcbox_tui.widgets.lines import TextLines, TextRow

_KEY_CELLS = 22
_EMPTY = TextRow((("", PLAIN),))
_SIGNS = (
    ("○ • ●", "waits, runs, has printed within 2 s"),
    ("✓ ✗ ?", "ended well, failed, lost"),
    ("! z", "prints something else than most, silent for 30 s"),
)
_FILTERS = (
    ("WORD", "jobs with this in id, name, user, state, reason, nodes, image"),
    ("!WORD", "jobs without it"),
    ("FIELD=VALUE", "account id image name node partition qos reason state user; != for others"),
)


class HelpScreen(Frame):
    """Shows what keys do on the screen below it."""

    def __init__(self, below: Frame) -> None:
        super().__init__()
        self._below = below

    def body(self) -> Iterable[Widget]:
        """One list."""
        yield TextLines(id="help")

    def on_mount(self) -> None:
        """Show the keys."""
        self.show_heading([(" keys and commands", PLAIN)], [("esc goes back", PLAIN)])
        rows = [TextRow(((" KEYS", TITLE),))]
        rows += [
            self._row(key_name(binding.key), binding.description)
            for binding, _owner in self._below.own_keys()
        ]
        rows += [_EMPTY, TextRow(((" COMMANDS", TITLE),))]
        rows += [self._row(f":{name}", text) for name, text in COMMANDS.items()]
        rows += [_EMPTY, TextRow(((" FILTERS of the queue, after /", TITLE),))]
        rows += [self._row(sign, text) for sign, text in _FILTERS]
        rows += [_EMPTY, TextRow(((" SIGNS of ranks", TITLE),))]
        rows += [self._row(sign, text) for sign, text in _SIGNS]
        self.query_one(TextLines).show_rows(rows)

    @staticmethod
    def _row(key: str, text: str) -> TextRow:
        return TextRow(((f"  {fit(key, _KEY_CELLS)}", BOLD), (f" {text}", PLAIN)))

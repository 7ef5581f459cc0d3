"""The line at the bottom where filters, searches and commands are typed."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from hpcbox_tui.styles import BOLD, CURSOR, DIM, PLAIN
from hpcbox_tui.text import fit, harmless
from hpcbox_tui.widgets.lines import strip_of

Completer = Callable[[str], list[str]]

# A filter or command; a paste of a whole file is none.
_LONGEST = 500


class Prompt(Widget, can_focus=True):
    """A one-line editor; while it is open it has the keys.

    Attributes:
        purpose: what is typed: "filter", "search" or "command".
        value: what has been typed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "accept", show=False),
        Binding("escape,ctrl+c", "leave", "leave", show=False),
        Binding("backspace,ctrl+h", "erase", "erase", show=False),
        Binding("ctrl+u", "clear", "clear", show=False),
        Binding("ctrl+w", "erase_word", "erase a word", show=False),
        Binding("left", "move(-1)", "left", show=False),
        Binding("right", "move(1)", "right", show=False),
        Binding("home,ctrl+a", "move(-500)", "start", show=False),
        Binding("end,ctrl+e", "move(500)", "end", show=False),
        Binding("tab", "complete", "complete", show=False, priority=True),
        Binding("up", "recall", "what was typed before", show=False),
    ]

    @dataclass
    class Changed(Message):
        """The text is another; bubbles to the screen."""

        purpose: str
        value: str

        def can_replace(self, message: Message) -> bool:
            """Only the last of several counts."""
            return isinstance(message, Prompt.Changed)

    @dataclass
    class Done(Message):
        """Enter was pressed, or (value None) the prompt was left."""

        purpose: str
        value: str | None

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self.purpose = ""
        self.value = ""
        self._sign = ""
        self._at = 0
        self._hint = ""
        self._completer: Completer | None = None
        self._history: dict[str, list[str]] = {}
        self.display = False

    def open(
        self, purpose: str, sign: str, value: str = "", completer: Completer | None = None
    ) -> None:
        """Take the keys and show what is there to be edited."""
        self.purpose, self._sign, self._completer = purpose, sign, completer
        self._set(value, len(value), tell=False)
        self.display = True
        # At once, not as a message: the next key may be under way.
        self.screen.set_focus(self)

    def _set(self, value: str, at: int, *, tell: bool = True) -> None:
        changed = value != self.value
        self.value, self._at = value[:_LONGEST], max(0, min(at, len(value[:_LONGEST])))
        found = self._completions() if self.value else []
        self._hint = "  ".join(found[:8]) if len(found) > 1 else ""
        self.refresh()
        if changed and tell:
            self.post_message(self.Changed(self.purpose, self.value))

    def _completions(self) -> list[str]:
        return [] if self._completer is None else self._completer(self.value)

    def _close(self, value: str | None) -> None:
        self.display = False
        if value:
            earlier = self._history.setdefault(self.purpose, [])
            if value in earlier:
                earlier.remove(value)
            earlier.append(value)
        self.post_message(self.Done(self.purpose, value))

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is one
        """Draw sign, text with its cursor, and possible completions."""
        width = self.size.width
        before, after = self.value[: self._at], self.value[self._at + 1 :]
        under = self.value[self._at : self._at + 1] or " "
        # A long text moves left, so that the cursor stays in view.
        while before and cell_len(before) > width - 12:
            before = before[1:]
        parts = [(self._sign, BOLD), (before, PLAIN), (under, CURSOR), (after, PLAIN)]
        room = width - sum(cell_len(text) for text, _ in parts)
        if self._hint and room > 4:
            parts.append((fit("  " + self._hint, room), DIM))
        elif room > 0:
            parts.append((" " * room, PLAIN))
        return strip_of(parts, width)

    def on_key(self, event: events.Key) -> None:
        """Take a character, before it reaches the screen as one of its keys."""
        if self.display and event.is_printable and event.character:
            event.stop()
            event.prevent_default()
            text = self.value[: self._at] + event.character + self.value[self._at :]
            self._set(text, self._at + len(event.character))

    def on_paste(self, event: events.Paste) -> None:
        """Take the first line of what is pasted."""
        event.stop()
        text = harmless(event.text.split("\n", 1)[0])
        self._set(self.value[: self._at] + text + self.value[self._at :], self._at + len(text))

    def action_submit(self) -> None:
        """Hand the text over."""
        self._close(self.value)

    def action_leave(self) -> None:
        """Close without a text."""
        self._close(None)

    def action_erase(self) -> None:
        """Erase the character before the cursor; in an empty prompt, leave it."""
        if not self.value:
            self.action_leave()
        elif self._at:
            self._set(self.value[: self._at - 1] + self.value[self._at :], self._at - 1)

    def action_erase_word(self) -> None:
        """Erase the word before the cursor."""
        kept = self.value[: self._at].rstrip().rpartition(" ")
        head = kept[0] + kept[1]
        self._set(head + self.value[self._at :], len(head))

    def action_clear(self) -> None:
        """Erase everything."""
        self._set("", 0)

    def action_move(self, characters: int) -> None:
        """Move the cursor."""
        self._set(self.value, self._at + characters)

    def action_recall(self) -> None:
        """Bring back what was entered last."""
        earlier = self._history.get(self.purpose, [])
        if earlier:
            index = earlier.index(self.value) - 1 if self.value in earlier else len(earlier) - 1
            text = earlier[max(0, index)]
            self._set(text, len(text))

    def action_complete(self) -> None:
        """Complete as far as all possible words agree."""
        found = self._completions()
        if found:
            # The first and the last word in order share what all share.
            first, last = min(found), max(found)
            pairs = zip(first, last, strict=False)
            length = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            common = first[:length]
            text = common + " " if len(found) == 1 and not common.endswith(" ") else common
            if len(text) >= len(self.value):
                self._set(text, len(text))

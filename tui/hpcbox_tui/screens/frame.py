"""What all screens have: a heading, a body, key hints, and the prompt in the hints' place."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from hpcbox_tui.commands import complete
from hpcbox_tui.styles import BAD, BAR, BOLD, DIM, PLAIN, WAITING
from hpcbox_tui.text import harmless
from hpcbox_tui.widgets.line import Line, Parts
from hpcbox_tui.widgets.lines import Painted
from hpcbox_tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from rich.style import Style
    from textual.timer import Timer

    from hpcbox_tui.app import HpcboxApp

# How long a remark stays where the key hints are.
_SAY_SECONDS = 8.0

KEY_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "escape": "esc",
    "ctrl+backslash": "ctrl+\\",
    "right": "→",
    "left": "←",
    "up": "↑",
    "down": "↓",
    "less_than_sign": "<",
    "greater_than_sign": ">",
}


def key_name(key: str) -> str:
    """Return how people write a key of a binding."""
    return "/".join(KEY_NAMES.get(part, part) for part in key.split(","))


class Frame(Screen[None]):
    """A screen of hpcbox: subclasses add a body and what keys do."""

    AUTO_FOCUS = "Lines"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "help"),
        # Before keys are handed to a widget: what is typed next belongs to the prompt already.
        Binding("colon", "command", "command", priority=True),
        Binding("escape", "back", "back", show=False),
        Binding("q", "back", "back", show=False),
        Binding("ctrl+r", "look_again", "ask again now", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._is_made = False
        self._remark = ""
        self._remark_timer: Timer | None = None

    @property
    def hpcbox(self) -> "HpcboxApp":
        """The application, with its type."""
        return cast("HpcboxApp", self.app)

    def body(self) -> Iterable[Widget]:
        """Return the widgets between heading and hints."""
        return ()

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Line(id="heading", base=BAR)
        problem = Line(id="problem", base=BAD)
        problem.display = False
        yield problem
        yield from self.body()
        yield Line(id="hints")
        yield Prompt()

    def _show_line(self, name: str, left: Parts, right: Parts = ()) -> None:
        """Show something on one of the screen's lines, while it has them.

        An event may still come when the application ends and its widgets have gone.
        """
        for line in self.query(f"#{name}").results(Line):
            line.show(left, right)

    def show_heading(self, left: Parts, right: Parts = ()) -> None:
        """Show what the screen is about, and how fresh it is."""
        self._show_line("heading", [(" hpcbox ", BOLD), *left], [*right, (" ", PLAIN)])

    def show_problem(self, text: str) -> None:
        """Show why data aren't fresh on a line of its own, or no such line for ""."""
        self._show_line("problem", [(f" {harmless(text)}", PLAIN)])
        self.query("#problem").set(display=bool(text))

    def on_mount(self) -> None:
        """Take keys from now on (Textual calls this besides a subclass's own)."""
        self._is_made = True

    def on_screen_resume(self) -> None:
        """Show the keys."""
        self.show_hints()

    def panes(self) -> list[Painted]:
        """Return the widgets of the body that can have the keys."""
        return [pane for pane in self.query(Painted) if pane.can_focus]

    def own_keys(self) -> list[tuple[Binding, DOMNode]]:
        """Return the bindings of this screen and the pane that is shown, each key once.

        With each goes the node that its action belongs to.
        """
        found: dict[str, tuple[Binding, DOMNode]] = {}
        owners: list[DOMNode] = [self, *(pane for pane in self.panes() if pane.display)]
        for owner in owners:
            for base in type(owner).__mro__:
                # No binding of Textual's own classes: they scroll what doesn't scroll here.
                if not base.__module__.startswith("hpcbox_tui"):
                    continue
                for binding in base.__dict__.get("BINDINGS", ()):
                    found.setdefault(binding.key, (binding, owner))
        return list(found.values())

    def show_hints(self) -> None:
        """Show the keys that are worth a hint, or a remark that is still to be read."""
        if self._remark:
            parts: list[tuple[str, Style]] = [(f" {harmless(self._remark)}", WAITING)]
        else:
            bindings = [binding for binding, _owner in self.own_keys() if binding.show]
            # How to get help is worth more than anything that may be cut off.
            bindings.sort(key=lambda binding: binding.action != "help")
            parts = []
            for binding in bindings:
                parts.append((f" {key_name(binding.key)}", BOLD))
                parts.append((f" {binding.description}", DIM))
        self._show_line("hints", parts)

    def say(self, text: str) -> None:
        """Show a remark in the hints' place for a while."""
        self._remark = text
        if self._remark_timer is not None:
            self._remark_timer.stop()
        self._remark_timer = self.set_timer(_SAY_SECONDS, self._unsay)
        self.show_hints()

    def _unsay(self) -> None:
        self._remark = ""
        self.show_hints()

    # The prompt.

    def ask(self, purpose: str, sign: str, value: str = "") -> None:
        """Open the prompt in the hints' place."""
        self.query_one("#hints", Line).display = False
        completer = self._completions if purpose == "command" else None
        self.query_one(Prompt).open(purpose, sign, value, completer)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Let : and / be typed into an open prompt; do nothing before there is something to see.

        A key may come before the screen that it opened, or that the key before it opened, is made.
        """
        if not self._is_made:
            return False
        is_typed = action in ("command", "filter", "search")
        return not (is_typed and self.query_one(Prompt).display)

    def _completions(self, line: str) -> list[str]:
        return complete(line, self.command_arguments())

    def command_arguments(self) -> dict[str, list[str]]:
        """Return command → what its argument may be here."""
        return {}

    def on_prompt_changed(self, message: Prompt.Changed) -> None:
        """Tell the screen what is being typed."""
        message.stop()
        if self.query_one(Prompt).display:
            self.typed(message.purpose, message.value)

    def on_prompt_done(self, message: Prompt.Done) -> None:
        """Close the prompt and do what was typed."""
        message.stop()
        self.query_one("#hints", Line).display = True
        for pane in self.panes():
            if pane.display:
                self.set_focus(pane)
        if message.purpose == "command":
            if message.value:
                self.hpcbox.run_command(message.value)
        else:
            self.entered(message.purpose, message.value)

    def typed(self, purpose: str, value: str) -> None:
        """A filter or search is being typed."""

    def entered(self, purpose: str, value: str | None) -> None:
        """A filter or search was entered, or left (None)."""

    # Commands that mean something on most screens.

    def show_rank(self, rank: int | None) -> None:  # noqa: ARG002 - for subclasses
        """Show what a rank prints, or all ranks (`:rank`, `:ranks`)."""
        self.say("which job's? — :job ID, or choose one in the queue")

    def show_output(self) -> None:
        """Show what the job prints (`:log`)."""
        self.say("which job's? — :job ID, or choose one in the queue")

    # Keys of every screen.

    def action_command(self) -> None:
        """Type a command."""
        self.ask("command", ":")

    def action_help(self) -> None:
        """Show all keys."""
        from hpcbox_tui.screens.help import HelpScreen  # noqa: PLC0415 - not for the first paint

        self.app.push_screen(HelpScreen(self))

    def action_back(self) -> None:
        """Go back to the screen before."""
        self.app.pop_screen()

    def action_look_again(self) -> None:
        """Ask again now; for screens that ask."""

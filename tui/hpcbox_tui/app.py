"""The application: screens on a stack, and what commands do on all of them."""

import gc
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from hpcbox import views
from hpcbox.errors import HpcboxError
from hpcbox.views import SlurmClient, StepFolder
from hpcbox_tui import commands
from hpcbox_tui.feed.feed import Feed
from hpcbox_tui.feed.snapshot import Snapshot
from hpcbox_tui.queue_rows import ORDERS
from hpcbox_tui.screens.frame import Frame
from hpcbox_tui.screens.queue import QueueScreen

if TYPE_CHECKING:
    from hpcbox_tui.feed.job import FindSteps


class HpcboxApp(App[int]):
    """Shows what a SlurmClient and step folders say."""

    TITLE = "hpcbox"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "quit", show=False, priority=True),
        Binding("ctrl+c", "quit", "quit", show=False),
        Binding("ctrl+p", "palette", "palette", show=False),
    ]

    def __init__(
        self,
        client: SlurmClient,
        *,
        find_steps: "FindSteps" = views.find_steps,
        user: str | None = None,
        everybody: bool = False,
        clock: Callable[[], float] = time.time,
        snapshot: Snapshot | None = None,
    ) -> None:
        """Describe it; nothing is asked for before it runs.

        Args:
            client: where the queue comes from.
            find_steps: where the output of ranks is found.
            user: whose jobs are "mine".
            everybody: begin with everybody's jobs.
            clock: seconds since 1970.
            snapshot: cache for the first paint, None for none.
        """
        # The terminal's own colours: exact under NO_COLOR, right on light and dark backgrounds.
        # Said at construction: Textual chooses its colour filters there.
        super().__init__(ansi_color=True)
        self.set_reactive(App.theme, "ansi-dark")
        self.animation_level = "none"
        self.feed = Feed(client, find_steps, clock, snapshot)
        self._user = user
        self._everybody = everybody

    def on_ready(self) -> None:
        """Collect garbage from now on: what start-up has made stays (run.py has put it off)."""
        gc.freeze()
        gc.enable()

    def get_default_screen(self) -> Screen[None]:
        """Begin with the queue."""
        return QueueScreen(self._user, everybody=self._everybody)

    # What several screens do.

    def open_job(self, job: str, *, then: str = "") -> None:
        """Show a job, and what of it ("ranks", "log") as soon as that is known."""
        from hpcbox_tui.screens.job import JobScreen  # noqa: PLC0415 - not for the first paint

        self.push_screen(JobScreen(job, then=then))

    def open_ranks(self, folder: StepFolder, rank: int | None = None) -> None:
        """Show what the ranks of a step print."""
        from hpcbox_tui.screens.ranks import RanksScreen  # noqa: PLC0415 - as above

        self.push_screen(RanksScreen(folder, rank))

    def open_log(self, path: str, title: str = "") -> None:
        """Show a file."""
        from hpcbox_tui.screens.log import LogScreen  # noqa: PLC0415 - as above

        self.push_screen(LogScreen(path, title or path))

    def ask_to_cancel(self, keys: Sequence[str]) -> None:
        """Cancel these jobs once the user has said yes."""
        from hpcbox_tui.screens.confirm import CancelScreen  # noqa: PLC0415 - as above

        frame = self.screen
        if not keys or not isinstance(frame, Frame):
            return

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - Textual calls it
            if yes:
                self.feed.cancel(frame.post_message, keys)
            else:
                frame.say("nothing was cancelled")

        try:
            command = self.feed.cancel_command(keys)
        except HpcboxError as error:
            # Somebody has asked for a job that there can't be (:job nonsense).
            frame.say(str(error))
        else:
            self.push_screen(CancelScreen(keys, command), answered)

    async def action_palette(self) -> None:
        """Offer what can be done on this screen."""
        from hpcbox_tui.screens.palette import Action, PaletteScreen  # noqa: PLC0415 - as above

        if not isinstance(self.screen, Frame):
            return

        async def chosen(action: Action | None) -> None:
            outcome = None if action is None else action()
            if outcome is not None:
                await outcome

        self.push_screen(PaletteScreen(self.screen), chosen)

    def copy(self, text: str) -> None:
        """Put a text into the terminal's clipboard (OSC 52)."""
        if text:
            self.copy_to_clipboard(text)
            self.say(f"copied {text}")

    def say(self, text: str) -> None:
        """Show a remark at the bottom."""
        if isinstance(self.screen, Frame):
            self.screen.say(text)

    def run_command(self, line: str) -> None:
        """Do what was typed after `:`."""
        command = commands.parse(line)
        if isinstance(command, str):
            self.say(command)
            return
        getattr(self, f"_do_{command.name}")(command.argument)

    def _frame(self) -> Frame:
        """The screen that a command was typed on."""
        return cast("Frame", self.screen)

    def _queue_screen(self) -> QueueScreen:
        while not isinstance(self.screen, QueueScreen):
            self.pop_screen()
        return self.screen

    # Commands, by name (commands.py).

    def _do_q(self, _argument: str) -> None:
        self.exit(0)

    def _do_jobs(self, _argument: str) -> None:
        self._queue_screen()

    def _do_all(self, _argument: str) -> None:
        self._queue_screen().show_everybody(True)

    def _do_me(self, _argument: str) -> None:
        self._queue_screen().show_everybody(False)

    def _do_filter(self, argument: str) -> None:
        self._queue_screen().table.show_filter(argument)

    def _do_sort(self, argument: str) -> None:
        if argument and argument not in ORDERS:
            self.say(f"there is no column '{argument}' to sort by — {' '.join(ORDERS)}")
        else:
            self._queue_screen().sort_by(argument)

    def _do_refresh(self, _argument: str) -> None:
        self._frame().action_look_again()

    def _do_help(self, _argument: str) -> None:
        self._frame().action_help()

    def _do_job(self, argument: str) -> None:
        self.open_job(argument)

    def _do_ranks(self, argument: str) -> None:
        if argument:
            self.open_job(argument, then="ranks")
        else:
            self._frame().show_rank(None)

    def _do_rank(self, argument: str) -> None:
        self._frame().show_rank(int(argument))

    def _do_log(self, argument: str) -> None:
        if argument:
            self.open_log(os.path.abspath(os.path.expanduser(argument)))
        else:
            self._frame().show_output()

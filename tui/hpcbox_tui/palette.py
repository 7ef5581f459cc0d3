"""What ctrl+p offers: the keys of the screen below it, the commands, and jobs by their number."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from hpcbox_tui.commands import COMMANDS
from hpcbox_tui.screens.frame import Frame, key_name


class _Entry(NamedTuple):
    text: str
    help: str
    run: Callable[[], Awaitable[object] | None]


class HpcboxCommands(Provider):
    """Searches a few dozen entries; never the queue."""

    def _entries(self) -> Iterator[_Entry]:
        if not isinstance(self.screen, Frame):
            return
        frame = self.screen
        for binding, owner in frame.own_keys():
            if binding.show or binding.action.startswith("output"):
                run = partial(self.app.run_action, binding.action, owner)
                yield _Entry(binding.description, f"key {key_name(binding.key)}", run)
        for name, text in COMMANDS.items():
            # Those with an argument open the prompt with the command begun.
            if ":" in text and not text.startswith("["):
                yield _Entry(f":{name}", text, partial(frame.ask, "command", ":", f"{name} "))
            else:
                yield _Entry(f":{name}", text, partial(frame.hpcbox.run_command, name))

    async def discover(self) -> Hits:
        """Give everything before something is typed."""
        for entry in self._entries():
            yield DiscoveryHit(entry.text, entry.run, help=entry.help)

    async def search(self, query: str) -> Hits:
        """Give what matches, a job's number among it."""
        matcher = self.matcher(query)
        if query.isascii() and query.isdigit():
            frame = cast("Frame", self.screen)
            run = partial(frame.hpcbox.open_job, query)
            yield Hit(1.0, f"job {query}", run, help="one job")
        for entry in self._entries():
            score = matcher.match(entry.text)
            if score > 0:
                yield Hit(score, matcher.highlight(entry.text), entry.run, help=entry.help)

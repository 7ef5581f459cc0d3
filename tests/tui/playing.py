"""Screens without a terminal: a recorded cluster, keys, and waiting for what is shown."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events

from hpcbox_tui.app import HpcboxApp
from hpcbox_tui.demo.cluster import DemoCluster
from hpcbox_tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from hpcbox_tui.feed.snapshot import Snapshot

EPOCH = 1_800_000_000.0
DEADLINE_SECONDS = 15.0


@dataclass
class Clock:
    """A clock that stands still."""

    now: float

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now


@dataclass
class Stage:
    """An application that plays the recording at a time that stands still.

    Attributes:
        app: the application.
        pilot: presses keys.
        cluster: the recording.
        clock: its time; `go_on` changes it.
    """

    app: HpcboxApp
    pilot: Pilot[int]
    cluster: DemoCluster
    clock: Clock

    async def press(self, *keys: str) -> None:
        """Press keys and let what they do settle."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Type a text."""
        await self.press(*(NAMES.get(character, character) for character in text))

    async def paste(self, text: str) -> None:
        """Paste a text into the open prompt, which is quicker than typing it."""
        focused = self.app.screen.focused
        assert isinstance(focused, Prompt)
        focused.post_message(events.Paste(text))
        await self.until(lambda: text in focused.value, "the text is there")

    async def command(self, line: str) -> None:
        """Give a command."""
        await self.press("colon")
        await self.paste(line)
        await self.press("enter")

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something is shown; fails with what is on the screen instead."""
        end = time.monotonic() + DEADLINE_SECONDS
        while not holds():
            assert time.monotonic() < end, f"waited in vain until {what}:\n{self.text()}"
            await self.pilot.pause(0.01)

    async def shows(self, text: str) -> None:
        """Wait until a text is on the screen."""
        await self.until(lambda: text in self.text(), f"'{text}' is shown")

    async def shows_not(self, text: str) -> None:
        """Wait until a text isn't on the screen."""
        await self.until(lambda: text not in self.text(), f"'{text}' is gone")

    def lines(self) -> list[str]:
        """Return what is on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    def text(self) -> str:
        """Return what is on the screen as one text."""
        return "\n".join(self.lines())

    def row_of(self, text: str) -> int:
        """Return the number of the line with a text."""
        return next(number for number, line in enumerate(self.lines()) if text in line)

    def go_on(self, seconds: float) -> None:
        """Let time pass on the recorded cluster."""
        self.clock.now += seconds
        self.cluster.advance()


NAMES = {
    " ": "space",
    "/": "slash",
    ":": "colon",
    "=": "equals_sign",
    "!": "exclamation_mark",
    ".": "full_stop",
    "*": "asterisk",
    "_": "underscore",
    "-": "minus",
}


@contextlib.asynccontextmanager
async def playing(
    folder: Path,
    *,
    at: float = 60.0,
    size: tuple[int, int] = (80, 24),
    everybody: bool = True,
    snapshot: Snapshot | None = None,
) -> AsyncIterator[Stage]:
    """Show the recorded cluster `at` seconds after its start, with the queue on the screen."""
    clock = Clock(EPOCH)
    cluster = DemoCluster(str(folder), clock)
    clock.now += at
    cluster.advance()
    app = HpcboxApp(
        cluster.client,
        find_steps=cluster.find_steps,
        user=cluster.user,
        everybody=everybody,
        clock=clock,
        snapshot=snapshot,
    )
    async with app.run_test(size=size) as pilot:
        stage = Stage(app, pilot, cluster, clock)
        await stage.until(lambda: "data" in stage.lines()[0], "the queue is there")
        yield stage

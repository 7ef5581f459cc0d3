"""Draws contrib/screen.svg for README: the ranks of the recorded cluster, the odd one marked.

Use: build/venv/bin/python contrib/picture.py [FILE].
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from hpcbox_tui.app import HpcboxApp
from hpcbox_tui.demo.cluster import DemoCluster

EPOCH = 1_800_000_000.0
SECONDS = 60.0
SIZE = (110, 34)


class Clock:
    """A clock that stands still, so that the same picture comes out each time."""

    now = EPOCH

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now


async def draw() -> str:
    """Return the picture as SVG."""
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        cluster = DemoCluster(folder, clock)
        clock.now += SECONDS
        cluster.advance()
        app = HpcboxApp(
            cluster.client,
            find_steps=cluster.find_steps,
            user=cluster.user,
            everybody=True,
            clock=clock,
        )
        async with app.run_test(size=SIZE) as pilot:
            # Comparing once marks the odd rank in the grid too.
            for key in ("r", "d", "d"):
                await pilot.press(key)
                await pilot.pause(1.0)
            await pilot.press(*["right"] * 17)
            await pilot.pause(0.5)
            return app.export_screenshot(title="hpcbox --demo")


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "screen.svg")
    target.write_text(asyncio.run(draw()), encoding="utf-8")

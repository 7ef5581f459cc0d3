"""Every screen as a picture, at four sizes and without colours; pictures/ holds accepted ones.

Run with HPCBOX_ACCEPT_PICTURES=1 to accept new ones, and look at each before committing it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tui.playing import playing

if TYPE_CHECKING:
    from tests.tui.playing import Stage

PICTURES = Path(__file__).parent / "pictures"
REJECTED = Path(__file__).parents[2] / "build" / "pictures"
SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}

# Screen → seconds of the recording, keys, and what is shown when all is there.
SCREENS = {
    "queue": (40, [], "postprocess"),
    "job": (3, ["enter"], "4711.batch"),
    "ranks": (60, ["r"], "UserWarning"),
    "merged": (60, ["r", "m"], "[17]"),
    "diff": (60, ["r", "d"], "SAME (23 ranks, 140 lines)"),
    "log": (60, ["r", "enter"], "step 124"),
    "help": (60, ["question_mark"], "ask again now"),
    "cancel": (60, ["j", "j", "x"], "$ scancel"),
    "palette": (60, ["ctrl+p"], "> "),
}


async def picture(stage: Stage, screen: str) -> str:
    """Go to a screen and return its picture."""
    _at, keys, complete = SCREENS[screen]
    for key in keys:
        await stage.press(key)
        if key == "r":
            await stage.until(lambda: "24 ranks" in stage.lines()[0], "ranks are there")
            await stage.shows("step 139")
    await stage.shows(complete)
    await stage.pilot.pause(0.15)
    # Class names carry a checksum of the content.
    return re.sub(r"terminal-\d+", "terminal", stage.app.export_screenshot())


def compare(name: str, svg: str) -> None:
    """Compare with the accepted picture; a different one is kept in build/pictures."""
    accepted = PICTURES / f"{name}.svg"
    if os.environ.get("HPCBOX_ACCEPT_PICTURES"):
        accepted.write_text(svg, encoding="utf-8")
    known = accepted.read_text(encoding="utf-8") if accepted.exists() else ""
    if known != svg:
        REJECTED.mkdir(parents=True, exist_ok=True)
        (REJECTED / f"{name}.svg").write_text(svg, encoding="utf-8")
    assert known == svg, f"{name} looks different: compare {accepted} and {REJECTED}/{name}.svg"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("screen", ["queue", "job", "ranks", "diff"])
async def test_the_main_screens_look_as_accepted(tmp_path: Path, screen: str, size: str) -> None:
    async with playing(tmp_path, at=SCREENS[screen][0], size=SIZES[size]) as stage:
        compare(f"{screen}-{size}", await picture(stage, screen))


@pytest.mark.parametrize("screen", ["merged", "log", "help", "cancel", "palette"])
async def test_the_other_screens_look_as_accepted(tmp_path: Path, screen: str) -> None:
    async with playing(tmp_path, at=SCREENS[screen][0]) as stage:
        compare(f"{screen}-80x24", await picture(stage, screen))


@pytest.mark.parametrize("screen", SCREENS)
async def test_without_colours_nothing_has_a_colour(
    tmp_path: Path, screen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with playing(tmp_path, at=SCREENS[screen][0]) as stage:
        svg = await picture(stage, screen)
        styles = {
            segment.style
            for strip in stage.app.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None
        }
        compare(f"{screen}-no-color", svg) if screen in ("queue", "diff") else None

    for style in styles:
        assert style.color is None or style.color.is_default
        assert style.bgcolor is None or style.bgcolor.is_default

"""Logs on the screen: any size, anything in them, growing, cut and removed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from hpcbox_tui.feed.log_file import LONGEST_LINE, LogFile
from hpcbox_tui.feed.log_search import Search, compile_search
from hpcbox_tui.messages import FeedMessage, LogChanged
from tests.tui.playing import Stage, playing

if TYPE_CHECKING:
    from pathlib import Path

    from textual.strip import Strip


async def to_log(stage: Stage, path: Path) -> None:
    """Open a file by its command."""
    await stage.command(f"log {path}")


def numbered(count: int) -> bytes:
    """Return lines that carry their numbers."""
    return b"".join(b"line %d of many\n" % number for number in range(count))


async def test_a_log_opens_at_its_end_and_follows_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(numbered(100_000))
    async with playing(tmp_path / "demo") as stage:
        await to_log(stage, path)
        await stage.shows("line 99999 of many")
        assert "follows" in stage.lines()[0]

        path.write_bytes(path.read_bytes() + b"one more\nand half a li")
        await stage.shows("and half a li")
        path.write_bytes(path.read_bytes() + b"ne\n")
        await stage.shows("and half a line")


async def test_moving_up_stops_following_and_capital_g_starts_it_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(numbered(1000))
    async with playing(tmp_path / "demo") as stage:
        await to_log(stage, path)
        await stage.shows("line 999 ")
        await stage.press("k", "k")
        await stage.shows_not("line 999 ")
        assert "follows" not in stage.lines()[0]

        await stage.press("g")
        await stage.shows("line 0 ")
        await stage.press("j", "j")
        await stage.until(lambda: stage.lines()[1] == "line 2 of many", "two lines down")
        await stage.press("ctrl+d")
        await stage.until(lambda: stage.lines()[1] == "line 23 of many", "a page down")
        await stage.press("G")
        await stage.shows("line 999 ")
        await stage.shows("follows")


async def test_search_goes_to_the_next_and_to_the_one_before_and_wraps(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(numbered(500) + b"ERROR 17 here\n" + numbered(500) + b"ERROR 42 there\n")
    async with playing(tmp_path / "demo") as stage:
        await to_log(stage, path)
        await stage.shows("ERROR 42")
        await stage.press("g", "slash")
        await stage.paste("ERROR [0-9]+")
        await stage.press("enter")
        await stage.shows("ERROR 17")

        await stage.press("n")
        await stage.shows("ERROR 42")
        await stage.press("n")
        await stage.shows("ERROR 17")
        assert "went on from the start" in stage.lines()[0]
        await stage.press("N")
        await stage.shows("ERROR 42")

        await stage.press("slash")
        await stage.paste("not in there")
        await stage.press("enter")
        await stage.shows("nothing found")


async def test_a_log_that_is_cut_removed_and_replaced_is_said_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(numbered(1000))
    async with playing(tmp_path / "demo") as stage:
        await to_log(stage, path)
        await stage.shows("line 999 ")

        os.truncate(path, 100)
        await stage.shows("was cut short")
        await stage.shows_not("line 999 ")
        path.unlink()
        await stage.shows("No such file")
        path.write_bytes(b"another one\n")
        await stage.shows("another one")
        await stage.shows_not("No such file")


async def test_a_log_that_is_not_there_yet_appears(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with playing(tmp_path / "demo") as stage:
        await to_log(stage, path)
        await stage.shows("No such file")
        path.write_bytes(b"here it is\n")
        await stage.shows("here it is")


async def test_a_pipe_in_a_logs_place_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    async with playing(tmp_path / "demo") as stage:
        await to_log(stage, tmp_path / "log")
        await stage.shows("is no regular file")


async def test_whatever_a_log_holds_nothing_but_printable_cells_reaches_the_screen(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    lines = [
        b"\x1b[31mred\x1b[0m and \x1b]0;title\x07 and \x1b[2J",
        b"invalid \xff\xfe utf-8 \xc3",
        b"\r".join(b"progress %d%%" % number for number in range(101)),
        "宽".encode() * 100,
        "right to left \u202e override, nothing \u200b wide".encode(),
        b"accents e" + "\u0301".encode() * 100_000,
        b"a\tb\tc\x00d\x08\x7f\x85",
        b"x" * 1_000_000,
        b"the last one",
    ]
    path.write_bytes(b"\n".join(lines))
    async with playing(tmp_path / "demo") as stage:
        await to_log(stage, path)
        await stage.shows("the last one")

        text = stage.text()
        assert [c for c in text if c != "\n" and not c.isprintable()] == []
        assert "red and \\x1b]0;title\\x07" in text
        assert "invalid \\xff\\xfe utf-8 \\xc3" in text
        assert "progress 100%" in text
        assert "progress 99%" not in text
        assert "\\u202e" in text
        assert all(strip.cell_length == 80 for strip in strips(stage))


def strips(stage: Stage) -> list[Strip]:
    """Return the screen's lines as strips."""
    return list(stage.app.screen._compositor.render_strips())


async def test_long_lines_are_shown_further_right(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%09d " % number for number in range(20)) + b"\n")
    async with playing(tmp_path / "demo") as stage:
        await to_log(stage, path)
        await stage.shows("000000000")
        await stage.press("right")
        await stage.shows_not("000000000")
        assert stage.lines()[1].startswith("000000002")
        await stage.press("left")
        await stage.shows("000000000")


def test_lines_are_the_same_from_either_direction(tmp_path: Path) -> None:
    path = tmp_path / "log"
    body = b"".join(b"%d " % n + b"y" * (n * 977 % 3000) + b"\n" for n in range(300)) + b"no end"
    path.write_bytes(body)
    file = LogFile(str(path))
    file.look()
    starts = [0] + [match.end() for match in re.finditer(b"\n", body)]

    forward = [line.offset for line in file.lines(0, 1000)]
    assert forward == starts
    at, back = file.last_page(1), []
    while at:
        back.append(at)
        at = file.back(at, 1)
    assert back == starts[:0:-1]
    assert file.back(starts[200], 50) == starts[150]
    assert file.last_page(25) == starts[-25]
    file.close()


def test_a_line_without_an_end_is_taken_apart(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"z" * (3 * LONGEST_LINE))
    file = LogFile(str(path))
    file.look()

    assert len(file.lines(0, 10)) >= 2
    assert file.last_page(10) < file.size
    file.close()


def test_a_search_finds_the_same_forward_and_back_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    body = bytearray(b"." * 5_000_000)
    places = [0, 1_048_570, 2_097_152, 4_999_990]
    for place in places:
        body[place : place + 7] = b"needle\n"
    path.write_bytes(bytes(body))
    file = LogFile(str(path))
    file.look()

    for text in ("needle", "need[l]e"):
        found, at = [], 0
        while (match := run(Search(file, text, at, forward=True))) is not None:
            found.append(match)
            at = match + 1
        assert found == places
        found, at = [], file.size
        while (match := run(Search(file, text, at, forward=False))) is not None:
            found.append(match)
            at = match
        assert found == places[::-1]
    file.close()


def run(search: Search) -> int | None:
    """Search to the end; return where something was found."""
    while not search.is_over:
        search.step()
    return None if search.match is None else search.match[0]


def test_what_is_no_expression_is_searched_for_as_it_is() -> None:
    assert compile_search("(unbalanced").search(b"an (unbalanced one")
    assert compile_search("a.c").search(b"abc")
    assert compile_search("(?i)error").search(b"ERROR")


def test_a_newer_message_replaces_an_older_one_of_its_kind() -> None:
    old = LogChanged((), 0, at_end=True, match=None, note="")
    new = LogChanged((), 1, at_end=True, match=None, note="")

    assert new.can_replace(old)
    assert not new.can_replace(FeedMessage())

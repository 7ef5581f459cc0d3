"""The command in a terminal of its own: what it writes there, and how it leaves it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

import pytest

COLOUR = re.compile(r"^(3[0-8]|4[0-8]|9[0-7]|10[0-7])$")


class Terminal:
    """A process on a pseudo-terminal of 80 by 24 cells; end it with `leave`."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.written = b""
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            size = struct.pack("HHHH", 24, 80, 0, 0)
            fcntl.ioctl(1, termios.TIOCSWINSZ, size)
            variables = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
            command = [sys.executable, "-m", "hpcbox", *words]
            os.execve(sys.executable, command, variables | environment)  # noqa: S606 - no shell is meant

    def read_until(self, text: bytes) -> None:
        """Read until something was written."""
        end = time.monotonic() + 30
        while text not in self.written:
            assert time.monotonic() < end, self.written
            if not self._read():
                return

    def _read(self) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], 1)
        try:
            data = os.read(self._descriptor, 65536) if ready else b" "
        except OSError:
            # EIO: the process has ended.
            return False
        self.written += data if ready else b""
        return True

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._descriptor, keys)

    def leave(self) -> int:
        """Read to the end; return the exit code."""
        end = time.monotonic() + 30
        while self._read():
            assert time.monotonic() < end
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def test_without_colours_not_one_colour_sequence_is_written() -> None:
    terminal = Terminal("--demo", TERM="xterm-256color", NO_COLOR="1")
    terminal.read_until(b"train")
    terminal.press(b"r")
    terminal.read_until(b"n001")
    terminal.press(b"d")
    terminal.read_until(b"SAME")
    terminal.press(b"\x10")
    terminal.read_until(b"key enter")
    terminal.press(b"\x11")

    assert terminal.leave() == 0
    parameters = b";".join(re.findall(rb"\x1b\[([0-9;]*)m", terminal.written)).decode().split(";")
    assert "7" in parameters
    assert [number for number in parameters if COLOUR.match(number)] == []


def test_colours_are_the_terminals_own_sixteen() -> None:
    terminal = Terminal("--demo", TERM="xterm-256color")
    terminal.read_until(b"train")
    terminal.press(b"q")

    assert terminal.leave() == 0
    sequences = re.findall(rb"\x1b\[([0-9;]*)m", terminal.written)
    assert [sequence for sequence in sequences if b"38" in sequence or b"48" in sequence] == []
    assert any(b"32" in sequence for sequence in sequences)


def test_keys_typed_faster_than_the_screen_follows_reach_the_prompt() -> None:
    terminal = Terminal("--demo", TERM="xterm")
    terminal.read_until(b"train")
    terminal.press(b":nonsense\r")
    terminal.read_until(b"there is no command 'nonsense'")
    terminal.press(b":q\r")

    assert terminal.leave() == 0


@pytest.mark.parametrize("keys", [b"rmd", b"r\r", b"\rr", b"?q:", b"\r\x1brq/", b"x\x1b\rl"])
def test_keys_may_come_before_the_screens_that_they_open(keys: bytes) -> None:
    terminal = Terminal("--demo", TERM="xterm")
    terminal.read_until(b"train")
    terminal.press(keys)
    terminal.read_until(b"hpcbox")
    terminal.press(b"\x11")

    assert terminal.leave() == 0, terminal.written.decode(errors="replace")[-3000:]


def test_the_terminal_is_left_as_it_was_found() -> None:
    terminal = Terminal("--demo", TERM="xterm")
    terminal.read_until(b"train")
    terminal.press(b"\x11")

    assert terminal.leave() == 0
    assert terminal.written.rfind(b"\x1b[?1049l") > terminal.written.rfind(b"\x1b[?1049h")
    assert b"\x1b[?25h" in terminal.written


@pytest.mark.parametrize("kind", ["dumb", "unknown"])
def test_a_terminal_that_cannot_move_its_cursor_is_pointed_to_plain_commands(kind: str) -> None:
    terminal = Terminal("tui", TERM=kind)

    assert terminal.leave() == 64
    assert "'hpcbox ps'" in terminal.written.decode()
    assert b"\x1b" not in terminal.written

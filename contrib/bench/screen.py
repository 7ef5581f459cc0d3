"""A program on a terminal of its own: what it paints, when, and what that costs.

Nobody draws the bytes: what a benchmark looks for are texts that change in every cell, since a
program that paints only differences sends only those.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS, ROWS = 160, 48
# No byte for this long: what was to be painted is painted.
QUIET_SECONDS = 0.15
_TICK = os.sysconf("SC_CLK_TCK")


class Screen:
    """A program on a pseudo terminal; everything it writes is taken at once.

    Attributes:
        pid: of the program.
        painted_at: when its last bytes came (time.perf_counter).
        count: bytes it has written so far.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], *, cwd: Path | None = None
    ) -> None:
        """Start the program on a terminal of 160 by 48."""
        self._terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            words, stdin=inner, stdout=inner, stderr=inner, cwd=cwd, start_new_session=True,
            env={"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
            | dict(environment),
        )  # fmt: skip
        os.close(inner)
        self.pid = self._process.pid
        self.painted_at = time.perf_counter()
        self.count = 0
        self._recent = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the program and all that it started."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._terminal)

    # What it paints.

    def _take(self, seconds: float) -> bool:
        """Take what comes within a time; whether there was something."""
        if not select.select([self._terminal], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._terminal, 2**16)
        except OSError as error:
            shown = self._recent.decode(errors="replace")
            raise SystemExit(f"{self._process.args}: it ended\n{shown}") from error
        self.painted_at = time.perf_counter()
        self.count += len(data)
        self._recent = (self._recent + data)[-(2**18) :]
        return True

    def forget(self) -> None:
        """Look for texts only in what is painted from now on."""
        self._recent = b""

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until a text was painted in one piece since `forget`."""
        wanted, deadline = text.encode(), time.perf_counter() + seconds
        while wanted not in self._recent:
            left = deadline - time.perf_counter()
            if left <= 0 or not self._take(left):
                shown = self._recent[-3000:].decode(errors="replace")
                raise SystemExit(f"{self._process.args}: no '{text}' within {seconds} s\n{shown}")

    def wait_quiet(self, first_seconds: float = QUIET_SECONDS) -> None:
        """Wait, at most so long, until something is painted, and until that is over."""
        seconds = first_seconds
        while self._take(seconds):
            seconds = QUIET_SECONDS

    def run(self, seconds: float) -> None:
        """Let it run for a time."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._take(left)

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self._terminal, keys.encode())

    def enter(self, sign: str, text: str) -> None:
        """Open a prompt with its key, type a text into it, and wait until it stands there."""
        for keys in (sign, text):
            self.send(keys)
            self.wait_quiet(2.0)

    # What it costs.

    def cpu_seconds(self) -> float:
        """CPU time of the program so far, all its threads, no child processes."""
        # The clock of another process, as clock_getcpuclockid(3) makes it.
        return time.clock_gettime((~self.pid << 3) | 2)

    def main_thread_seconds(self) -> float:
        """CPU time of its first thread."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text(encoding="ascii")
        return int(text.split()[0]) / 1e9

    def children_seconds(self) -> float:
        """CPU time of its child processes that have ended (10 ms at the finest)."""
        text = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        fields = text.rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / _TICK

    def resident_megabytes(self) -> float:
        """Resident memory, file pages included."""
        return self._kilobytes("status", "VmRSS:") / 1000

    def private_megabytes(self) -> float:
        """Memory that only this process has; pages of mapped files don't count as such."""
        return (
            self._kilobytes("smaps_rollup", "Private_Clean:")
            + self._kilobytes("smaps_rollup", "Private_Dirty:")
        ) / 1000

    def _kilobytes(self, file: str, name: str) -> float:
        text = Path(f"/proc/{self.pid}/{file}").read_text(encoding="ascii")
        line = next(line for line in text.splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1.024

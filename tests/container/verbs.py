"""`hpcbox run` as a process of this machine's root, and what is left of it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).parents[2]
SECONDS = 30


class Verb:
    """Starts `hpcbox run` with a store and an image."""

    def __init__(self, store: Path, image: str) -> None:
        self.store = store
        self.image = image

    def words(self, *command: str, options: Sequence[str] = ()) -> list[str]:
        """The command line."""
        words = [sys.executable, "-m", "hpcbox", "run", f"--image={self.image}", *options]
        return [*words, "--", *command] if command else words

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of a person with little in their environment."""
        own = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TERM": "xterm"}
        return {**own, "HPCBOX_STORE": str(self.store), "PYTHONPATH": str(REPOSITORY), **more}

    def run(
        self, *command: str, options: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end without a terminal."""
        return subprocess.run(
            self.words(*command, options=options),
            env=self.environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            start_new_session=True,
            check=False,
        )

    @contextmanager
    def start(self, *command: str, options: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
        """Start it in a session of its own, whose id is its pid; it is killed at the end."""
        with subprocess.Popen(
            self.words(*command, options=options),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def line(stream: IO[str] | None) -> str:
    """The next line of a process's pipe."""
    assert stream is not None
    return stream.readline().rstrip("\n")


def session_members(session: int) -> list[str]:
    """The processes of a session that aren't zombies, as `PID NAME`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                head, _, tail = (folder / "stat").read_text().rpartition(")")
            except OSError:
                continue
            fields = tail.split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(f"{folder.name} {head.partition('(')[2]}")
    return found


class Terminal:
    """A shell of this machine on a pseudo-terminal, with the person in front of it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execve("/bin/bash", ["bash", "--norc", "--noediting", "-i"], dict(env))  # noqa: S606
        self._shown = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> str:
        """Read what is shown until the text appears; return all up to and with it."""
        deadline = time.monotonic() + SECONDS
        while text not in self._shown:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._terminal], [], [], left)[0]:
                raise AssertionError(f"no {text!r} in {self._shown!r}")
            self._shown += os.read(self._terminal, 65536).decode(errors="replace")
        before, _, self._shown = self._shown.partition(text)
        return before + text

    def close(self) -> None:
        """Close the terminal, which ends the shell."""
        os.close(self._terminal)
        os.waitpid(self.pid, 0)

"""A spool with real pipes and files, and processes that write into them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from hpcbox.ranks import layout
from hpcbox.ranks.poller import Poller
from hpcbox.ranks.spool import Spool
from tests.services.commands import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Desk:
    """A spool in a folder, with what it told.

    Attributes:
        problems: lines for the user.
        onward: what went past the disk.
        paused: whether `onward` refuses more.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.poller = Poller()
        self.problems: list[str] = []
        self.onward: list[tuple[int, int, bytes]] = []
        self.paused = False
        self.lengths: list[int] = []
        self.spool = Spool(
            str(folder),
            "n1",
            self.poller,
            wrote=self._wrote,
            problem=self.problems.append,
            onward=self._onward,
        )

    def _wrote(self, rank: int, stream: int) -> None:
        self.lengths.append(self.spool.length(rank, stream))

    def _onward(self, rank: int, stream: int, data: bytes) -> bool:
        self.onward.append((rank, stream, data))
        return not self.paused

    def pipe(self, rank: int, stream: int = layout.OUT) -> int:
        """Add a pipe; return its write end."""
        reader, writer = os.pipe()
        self.spool.add(rank, stream, reader)
        return writer

    def start(self, rank: int, script: str) -> subprocess.Popen[bytes]:
        """Run a Python script as a rank."""
        out, err = self.pipe(rank), self.pipe(rank, layout.ERR)
        process = subprocess.Popen([sys.executable, "-IS", "-c", script], stdout=out, stderr=err)
        os.close(out)
        os.close(err)
        return process

    def turn_until(self, holds: Callable[[], bool], what: str) -> None:
        """Run the loop until a condition holds; a timer wakes it, if nothing else does."""

        def step() -> bool:
            self.poller.call_later(0.01, lambda: None)
            self.poller.turn()
            return holds()

        wait_until(step, timeout_seconds=20, what=what, gap_seconds=0)

    def finish(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        """Wait for a rank's end as its parent does, and let the spool drain it."""
        self.turn_until(lambda: process.poll() is not None, "the rank has ended")
        self.spool.end(rank)
        self.turn_until(lambda: self.spool.is_drained(rank), "the rank is drained")

    def bytes_of(self, rank: int, stream: int = layout.OUT) -> bytes:
        """Return a rank's file."""
        with open(layout.rank_file(str(self.folder), rank, stream), "rb") as file:
            return file.read()


@contextlib.contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """A spool until the end of the block."""
    made = Desk(folder)
    try:
        yield made
    finally:
        made.spool.close()
        made.poller.close()

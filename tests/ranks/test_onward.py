"""Passing output on: after it is on file, in order, held up by no consumer."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from hpcbox.ranks import layout
from hpcbox.ranks.onward import Onward
from hpcbox.ranks.poller import Poller
from hpcbox.ranks.spool import Spool
from tests.services.commands import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINES = b"".join(b"%015d\n" % number for number in range(2**18))


class Way:
    """A pipe from a rank through a spool to a consumer's descriptor."""

    def __init__(self, folder: Path, target: int) -> None:
        self.poller = Poller()
        self.onward = Onward(self.poller, lambda _rank: None)
        self.spool = self.onward.spool = Spool(
            str(folder),
            "n1",
            self.poller,
            wrote=self.onward.wrote,
            problem=lambda _text: None,
            onward=self.onward.direct,
        )
        source, self.writer = os.pipe()
        self.onward.add(0, layout.OUT, target)
        self.spool.add(0, layout.OUT, source)

    def turn_until(self, holds: Callable[[], bool], what: str) -> None:
        """Run the loop until a condition holds."""

        def step() -> bool:
            self.poller.call_later(0.01, lambda: None)
            self.poller.turn()
            return holds()

        wait_until(step, timeout_seconds=20, what=what, gap_seconds=0)

    def write(self, data: bytes) -> None:
        """Be a rank that writes and ends, while the loop turns."""
        os.set_blocking(self.writer, False)
        left = memoryview(data)

        def written() -> bool:
            nonlocal left
            try:
                left = left[os.write(self.writer, left) :]
            except BlockingIOError:
                return False
            return not left

        self.turn_until(written, "the rank has written all")
        os.close(self.writer)
        self.spool.end(0)
        self.turn_until(lambda: self.spool.is_drained(0), "all is on file")
        self.onward.settle(0)

    def finish(self) -> None:
        """Wait until the consumer has all."""
        self.turn_until(lambda: self.onward.is_done(0), "all was passed on")

    def close(self) -> None:
        """Close the spool's files."""
        self.spool.close()
        self.poller.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def read_all(way: Way, reader: int) -> bytes:
    """Read as a consumer that is slower than the rank was, until all was passed on."""
    os.set_blocking(reader, False)
    parts: list[bytes] = []

    def done() -> bool:
        try:
            parts.append(os.read(reader, 10_000))
        except BlockingIOError:
            return way.onward.is_done(0)
        return False

    way.turn_until(done, "the consumer has all")
    os.close(reader)
    return b"".join(parts)


def test_a_slow_consumer_holds_up_nobody_and_gets_everything(tmp_path: Path) -> None:
    reader, target = os.pipe()
    way = Way(tmp_path, target)

    way.write(LINES)

    assert way.spool.length(0, layout.OUT) == len(LINES)
    assert not way.onward.is_done(0)
    assert read_all(way, reader) == LINES
    way.close()


def test_a_consumer_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    reader, target = os.pipe()
    way = Way(tmp_path, target)
    os.close(reader)

    way.write(LINES)
    way.finish()

    with open(layout.rank_file(str(tmp_path), 0, layout.OUT), "rb") as file:
        assert file.read() == LINES
    way.close()


def test_bytes_that_nobody_will_read_hold_up_no_end(tmp_path: Path) -> None:
    reader, target = os.pipe()
    way = Way(tmp_path, target)

    way.write(b"few\n")
    assert not way.onward.is_done(0)
    os.close(reader)

    assert way.onward.is_done(0)
    way.close()


def test_a_file_that_others_append_to_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "slurm.out"
    path.write_bytes(b"before\n")
    way = Way(tmp_path, os.open(path, os.O_WRONLY | os.O_APPEND))

    way.write(LINES)
    way.finish()

    assert path.read_bytes() == b"before\n" + LINES
    way.close()


def test_what_no_disk_takes_reaches_the_consumer_in_order(small_disk: Path) -> None:
    reader, target = os.pipe()
    way = Way(small_disk, target)
    child = subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.PIPE)
    os.close(reader)
    with child:
        assert child.stdout is not None
        taken = child.stdout.fileno()
        os.set_blocking(taken, False)
        os.set_blocking(way.writer, False)
        got = bytearray()
        left = memoryview(LINES)

        def all_came() -> bool:
            nonlocal left
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(way.writer, left) :] if left else left
            with contextlib.suppress(BlockingIOError):
                got.extend(os.read(taken, 2**16))
            return len(got) == len(LINES)

        way.turn_until(all_came, "everything came out")
        os.close(way.writer)
        way.turn_until(lambda: way.spool.is_drained(0), "the pipe has ended")
        way.close()
        os.close(way.onward._flows[0, layout.OUT].target)

    assert bytes(got) == LINES


def test_bytes_for_a_null_device_are_not_copied(tmp_path: Path) -> None:
    way = Way(tmp_path, os.open(os.devnull, os.O_WRONLY))

    way.write(LINES)

    assert way.onward.is_done(0)
    way.close()

"""The spool: every byte of a rank reaches its file, in order, whatever else goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from hpcbox.ranks import layout
from tests.ranks.spooling import desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Each rank's bytes are a counter, so that a gap or a swap is seen.
COUNT = "import os; data = b''.join(b'%015d\\n' % n for n in range({lines})); os.write(1, data)"


def counted(lines: int) -> bytes:
    return b"".join(b"%015d\n" % number for number in range(lines))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_rank_that_writes_a_megabyte_and_exits_at_once_loses_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        for rank in range(20):
            one.finish(rank, one.start(rank, COUNT.format(lines=65536)))

    digests = {hashlib.sha256(one.bytes_of(rank)).hexdigest() for rank in range(20)}
    assert digests == {hashlib.sha256(counted(65536)).hexdigest()}


def test_blocks_are_moved_as_well_where_the_file_system_takes_no_splice(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        one.spool._splices = False
        one.finish(0, one.start(0, COUNT.format(lines=65536)))

    assert one.bytes_of(0) == counted(65536)


def test_stdout_and_stderr_have_files_of_their_own(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        one.finish(3, one.start(3, "import os; os.write(1, b'out'); os.write(2, b'err')"))

    assert (one.bytes_of(3), one.bytes_of(3, layout.ERR)) == (b"out", b"err")


def test_what_a_rank_wrote_before_its_end_is_on_file_while_a_child_holds_its_pipe(
    tmp_path: Path,
) -> None:
    with desk(tmp_path) as one:
        writer = one.pipe(0)
        os.write(writer, b"x" * 50_000)

        one.spool.end(0)

        assert one.spool.is_drained(0)
        assert len(one.bytes_of(0)) == 50_000
        os.write(writer, b"later")
        one.turn_until(lambda: one.spool.length(0, layout.OUT) == 50_005, "the child's bytes")
        os.close(writer)


def test_a_closed_stdout_ends_its_stream_only(tmp_path: Path) -> None:
    script = "import os; os.write(1, b'a'); os.close(1); os.write(2, b'b' * 100000)"
    with desk(tmp_path) as one:
        one.finish(0, one.start(0, script))

    assert (one.bytes_of(0), len(one.bytes_of(0, layout.ERR))) == (b"a", 100_000)


def test_wrote_is_called_after_the_bytes_are_on_file(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        writer = one.pipe(0)
        os.write(writer, b"four")
        one.turn_until(lambda: bool(one.lengths), "wrote was called")

        assert one.lengths == [4]
        assert os.pread(one.spool.reader(0, layout.OUT), 10, 0) == b"four"
        os.close(writer)


def test_the_index_covers_every_byte_in_order(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        ranks = [one.start(rank, COUNT.format(lines=65536)) for rank in range(4)]
        for rank, process in enumerate(ranks):
            one.finish(rank, process)

    with open(layout.index_file(str(tmp_path), "n1"), "rb") as file:
        records = list(layout.RECORD.iter_unpack(file.read()))
    ends = dict.fromkeys(range(4), 0)
    for _time, offset, length, rank, stream in records:
        assert (stream, offset) == (layout.OUT, ends[rank])
        ends[rank] = offset + length
    assert set(ends.values()) == {2**20}
    assert [time for time, *_ in records] == sorted(time for time, *_ in records)


def test_events_are_lines_of_json(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        one.spool.event("node", {"state": "failed", "text": "no\n\x1b[31m “image”"})
        one.spool.event("rank", {"rank": 3, "state": "exited", "code": 1})

    with open(layout.events_file(str(tmp_path), "n1"), encoding="ascii") as file:
        first, second = (json.loads(line) for line in file)
    assert first["text"] == "no\n\x1b[31m “image”"
    assert (second["event"], second["rank"], second["code"]) == ("rank", 3, 1)


@pytest.mark.parametrize("splices", [True, False])
def test_a_full_disk_is_told_once_and_the_ranks_bytes_go_onward(
    small_disk: Path, *, splices: bool
) -> None:
    with desk(small_disk) as one:
        one.spool._splices = splices
        for rank in range(2):
            one.finish(rank, one.start(rank, COUNT.format(lines=8192)))

        for rank in range(2):
            past = b"".join(data for whose, _, data in one.onward if whose == rank)
            assert one.bytes_of(rank) + past == counted(8192)
            assert past
        assert len(one.problems) == 1
        assert "No space left" in one.problems[0]


def test_a_rank_whose_bytes_go_onward_waits_for_the_consumer(small_disk: Path) -> None:
    with desk(small_disk) as one:
        one.paused = True
        process = one.start(0, COUNT.format(lines=32768))
        one.turn_until(lambda: bool(one.onward), "bytes went onward")
        assert len(one.onward) == 1

        one.paused = False
        one.spool.resume(0, layout.OUT)
        one.finish(0, process)

        assert one.bytes_of(0) + b"".join(data for *_, data in one.onward) == counted(32768)


def test_a_file_that_is_there_already_is_not_written(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"old")
    os.symlink(target, layout.rank_file(str(tmp_path), 0, layout.OUT))
    with desk(tmp_path) as one:
        writer = one.pipe(0)
        os.write(writer, b"new")
        os.close(writer)
        one.turn_until(lambda: one.spool.is_drained(0), "the stream has ended")

    assert target.read_bytes() == b"old"
    assert one.onward == [(0, layout.OUT, b"new")]
    assert len(one.problems) == 1

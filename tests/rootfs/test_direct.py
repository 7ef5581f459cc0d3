"""Files that are written past the page cache: what comes in is what is there."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.rootfs.content import new_file
from hpcbox.rootfs.direct import DirectFile

BUFFER = 2**20


@pytest.fixture(scope="module", params=["disk", "tmpfs"])
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    # /var/tmp is on a disk, other than /tmp may be.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        if request.param == "tmpfs":
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", made], check=True, timeout=10)
        try:
            yield Path(made)
        finally:
            if request.param == "tmpfs":
                subprocess.run(["umount", made], check=True, timeout=10)


def written(path: Path, pieces: list[bytes]) -> int:
    path.unlink(missing_ok=True)
    opened = new_file(os.fspath(path))
    try:
        file = DirectFile(opened)
        for piece in pieces:
            file.append(piece)
        return file.finish()
    finally:
        os.close(opened)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"\0", b"x", b"\0\1"]),
            st.sampled_from([0, 1, 511, 512, 4096, 2**18, BUFFER - 1, BUFFER, BUFFER + 1]),
        ),
        max_size=8,
    )
)
def test_pieces_of_any_size_are_in_the_file_as_they_came(
    folder: Path, shapes: list[tuple[bytes, int]]
) -> None:
    pieces = [(pattern * size)[:size] for pattern, size in shapes]

    size = written(folder / "file", pieces)

    assert size == sum(map(len, pieces))
    assert (folder / "file").read_bytes() == b"".join(pieces)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 4095, 4096, 2**14, 2**14 + 1, BUFFER, 3 * BUFFER + 5]),
            st.sampled_from([0, 1, 4096, BUFFER - 1, BUFFER + 1]),
        ),
        max_size=8,
    ),
    st.sampled_from([0, 4096]),
)
def test_what_is_left_out_reads_as_zeros(
    folder: Path, shapes: list[tuple[int, int]], start: int
) -> None:
    path = folder / "file"
    path.unlink(missing_ok=True)
    opened = new_file(os.fspath(path))
    expected = bytearray(start)
    try:
        file = DirectFile(opened, start)
        for gap, size in shapes:
            expected += bytes(gap)
            file.fill_to(len(expected))
            expected += b"x" * size
            file.append(b"x" * size)
        size = file.finish()
    finally:
        os.close(opened)

    assert size == len(expected)
    assert path.read_bytes() == expected


def test_runs_of_zeros_become_holes(folder: Path) -> None:
    size = written(folder / "file", [b"x" * BUFFER, bytes(16 * BUFFER), b"y"])

    status = (folder / "file").stat()
    assert size == status.st_size == 17 * BUFFER + 1
    assert status.st_blocks * 512 < 2 * BUFFER


def test_large_files_pass_the_page_cache_on_a_disk_alone(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    opened = new_file(os.fspath(folder / "large"))
    try:
        DirectFile(opened).append(os.urandom(BUFFER))

        is_direct = bool(fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_DIRECT)
    finally:
        os.close(opened)

    assert is_direct == (request.node.callspec.params["folder"] == "disk")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], check=True, timeout=10
    )
    try:
        with pytest.raises(OSError, match="No space left"):
            written(tmp_path / "file", [os.urandom(BUFFER)] * 4)
    finally:
        subprocess.run(["umount", tmp_path], check=True, timeout=10)

"""Layers that would fill memory, disk or a day: ended early, with little memory."""

import gzip
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcbox.errors import BlobInvalid, ImageTooLarge
from hpcbox.image.compression import decompressed
from tests.hostile import bombs
from tests.hostile.forms import FORMS, take
from tests.rootfs.unpacking import Bytes, budget
from tests.services.bad_registry import BadRegistry
from tests.services.small_images import file, folder, push_image, tar

PEAK_BYTES = 100 * 2**20
ALLOWED = 2000
MEASURED = """
import re, sys
from hpcbox.cli.main import main
code = main(sys.argv[1:])
print(code, re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1])
"""
MILLIONS = 5_000_000

MANY = [
    pytest.param(bombs.entries, id="files"),
    pytest.param(bombs.folders, id="folders"),
    pytest.param(bombs.links, id="links"),
    pytest.param(bombs.whiteouts, id="whiteouts"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", MANY)
def test_five_million_entries_are_refused_where_the_limit_is_met(
    tmp_path: Path, form: str, make: Callable[[int], Iterator[bytes]]
) -> None:
    stream = bombs.Endless(make(MILLIONS))

    with pytest.raises(ImageTooLarge, match=f"more than {ALLOWED} files"):
        take(form, tmp_path / "layers", [stream], budget(maximum_entries=ALLOWED))

    assert stream.read_bytes < 512 * ALLOWED + 2**19


@pytest.mark.parametrize("form", FORMS)
def test_folders_that_are_only_implied_count_too(tmp_path: Path, form: str) -> None:
    stream = bombs.Endless(bombs.implied(MILLIONS))

    with pytest.raises(ImageTooLarge, match=f"more than {ALLOWED} files"):
        take(form, tmp_path / "layers", [stream], budget(maximum_entries=ALLOWED))

    assert stream.read_bytes < 2**20


@pytest.mark.parametrize("form", FORMS)
def test_headers_full_of_attributes_are_read(tmp_path: Path, form: str) -> None:
    take(form, tmp_path / "layers", [bombs.Endless(bombs.many_headers(3))])


def test_implied_folders_over_implied_folders_are_laid_in_time(tmp_path: Path) -> None:
    layers = [bombs.Endless(bombs.implied(3)) for _ in range(3)]

    take("unpack", tmp_path / "layers", layers)

    assert (tmp_path / "layers/root/2").is_dir()


COMPRESSED = [
    pytest.param(bombs.long_gzip_name(2**22), "too early", id="a name without end"),
    pytest.param(bombs.wide_window(), "too much memory", id="a window of terabytes"),
    pytest.param(gzip.compress(bytes(2**20))[:-8], "too early", id="without an end"),
]


@pytest.mark.parametrize(("blob", "reason"), COMPRESSED)
def test_compressed_bytes_that_want_too_much_are_refused(blob: bytes, reason: str) -> None:
    with pytest.raises(BlobInvalid, match=reason):
        drained(blob)


@pytest.mark.parametrize(
    ("blob", "size"),
    [
        pytest.param(bombs.empty_members(5000), 1536, id="empty members"),
        pytest.param(bombs.skippable_frames(50_000), 1024, id="skippable frames"),
    ],
)
def test_thousands_of_empty_pieces_are_passed_over(blob: bytes, size: int) -> None:
    assert drained(blob) == size


def drained(blob: bytes) -> int:
    stream = decompressed(Bytes(blob))
    return sum(len(piece) for piece in iter(lambda: stream.read(2**18), b""))


@pytest.fixture(scope="module")
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as running:
        push_image(running, "zeros:1", tar(file("zeros", bytes(128 * 2**20))))
        names = [f"{number:0200}" for number in range(300)]
        many = tar(*itertools.chain.from_iterable((folder(n), file(f"{n}/f")) for n in names))
        push_image(running, "nested:1", bombs.nested(many, 2))
        yield running


@pytest.mark.parametrize("verb", ["pull", "unpack"])
def test_a_layer_of_zeros_takes_little_memory(
    registry: BadRegistry, tmp_path: Path, verb: str
) -> None:
    code, peak_bytes = measured(verb, f"{registry.address}/zeros:1", tmp_path)

    assert code == 0
    assert peak_bytes < PEAK_BYTES


@pytest.mark.parametrize("verb", ["pull", "unpack"])
def test_gzip_within_gzip_is_no_layer(registry: BadRegistry, tmp_path: Path, verb: str) -> None:
    code, peak_bytes = measured(verb, f"{registry.address}/nested:1", tmp_path)

    assert code == 65
    assert peak_bytes < PEAK_BYTES


def measured(verb: str, image: str, scratch: Path) -> tuple[int, int]:
    """Run a verb; return its exit code and the most memory that it took, in bytes."""
    words = [verb, "--quiet", image, *([str(scratch / "root")] if verb == "unpack" else [])]
    # Not what wait4(2) tells: that counts this process, too, from which it was forked.
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *words],
        env={"PATH": "/usr/bin:/bin", "HPCBOX_STORE": str(scratch / "store")},
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    code, peak_kilobytes = done.stdout.split()[-2:]
    return int(code), int(peak_kilobytes) * 1024

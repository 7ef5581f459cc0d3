"""What is remembered of a user's file system image, and when it isn't."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from hpcbox.errors import DigestMismatch
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor
from hpcbox.image.reference import FILE, LocalReference
from hpcbox.image.source import read_exactly
from hpcbox.image.squashfs_tree import SquashfsTree
from hpcbox.image.tree_source import TreeSource
from hpcbox.rootfs.known_files import KnownFile


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A squashfs of one file."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(os.urandom(2000))
    return packed(tmp_path)


def packed(place: Path) -> Path:
    words = ["mksquashfs", f"{place}/root", f"{place}/x.sqsh", "-quiet", "-no-progress"]
    subprocess.run([*words, "-noappend"], check=True, stdout=subprocess.DEVNULL)
    return place / "x.sqsh"


def known(image: Path, *, seconds_later: float = 60) -> KnownFile:
    home = {"HOME": str(image.parent)}
    return KnownFile(str(image), home, clock=lambda: time.time() + seconds_later)


def source(image: Path, *, seconds_later: float = 60) -> TreeSource:
    reference = LocalReference(FILE, str(image))
    memory = known(image, seconds_later=seconds_later)
    return TreeSource(reference, SquashfsTree(str(image), 100), (2**30, 100), memory)


def layer_of(body: bytes) -> Descriptor:
    layer = json.loads(body)["layers"][0]
    return Descriptor(layer["mediaType"], Digest.parse(layer["digest"]), layer["size"])


def test_a_file_that_was_read_need_not_be_read_for_its_digest_again(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = source(image).resolve()
    again = source(image)

    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        assert again.resolve() == first
    stream = again.open_blob(layer_of(first.body))
    content = read_exactly(stream, 2**20)
    stream.close()
    assert Digest.of(content) == layer_of(first.body).digest


def test_a_file_that_has_just_been_written_is_not_remembered(image: Path) -> None:
    source(image, seconds_later=0).resolve()

    assert known(image).recall() is None


def test_another_file_of_the_same_name_is_another_image(image: Path) -> None:
    first = source(image).resolve()
    (image.parent / "root/file").write_bytes(os.urandom(2000))
    packed(image.parent)

    assert source(image).resolve().body != first.body


def test_what_was_remembered_wrongly_is_forgotten(image: Path) -> None:
    body = source(image).resolve().body
    config = known(image).recall()
    assert config is not None
    wrong = body.replace(layer_of(body).digest.hex.encode(), b"0" * 64)
    known(image).remember(wrong, config[1])

    misled = source(image)
    stream = misled.open_blob(layer_of(misled.resolve().body))
    with pytest.raises(DigestMismatch, match="has changed"):
        read_exactly(stream, 2**20)
    stream.close()

    assert source(image).resolve().body == body


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"version": 1, "manifest": 3}', b"["])
def test_a_cache_that_makes_no_sense_is_none(image: Path, text: bytes) -> None:
    body = source(image).resolve().body
    (entry,) = (image.parent / ".cache/hpcbox/files").iterdir()
    entry.write_bytes(text)

    assert source(image).resolve().body == body

"""Folders and file system images that change, lie, or are too much: one line, no hang."""

import contextlib
import io
import json
import os
import random
import tarfile
from pathlib import Path

import pytest

from hpcbox.errors import HpcboxError
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor
from hpcbox.image.reference import parse
from hpcbox.rootfs.erofs_view import ErofsImage
from hpcbox.rootfs.sources import source_of
from hpcbox.settings import Settings
from tests.image.local import (
    LAYER,
    docker_archive,
    erofs,
    everything,
    refusal,
    source,
    squashfs,
    tree,
    whole,
)
from tests.services.small_images import (
    digest,
    file,
)


def test_a_folder_that_is_no_longer_the_job_s_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("new")

    assert "is no longer sha256:" in refusal(f"dir:{tmp_path}", digest(b"old"))


def test_a_folder_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    place = tree(tmp_path / "root")
    reading = source(f"dir:{place}")
    layer = json.loads(reading.resolve().body)["layers"][0]
    wanted = Descriptor("", Digest.parse(layer["digest"]), layer["size"])
    (place / "sub/c").write_bytes(os.urandom(3000))

    with pytest.raises(HpcboxError, match="has changed while it was read"):
        whole(reading, wanted)


@pytest.mark.parametrize("form", ["dir", "file", "docker-archive"])
def test_pieces_of_a_layer_prove_that_it_can_be_read(tmp_path: Path, form: str) -> None:
    place = tree(tmp_path / "root")
    text = {
        "dir": f"dir:{place}",
        "file": str(squashfs(place, tmp_path / "x.sqsh")),
        "docker-archive": "docker-archive:"
        + str(docker_archive(tmp_path / "x.tar", file("1/layer.tar", LAYER))),
    }[form]
    reading = source(text)
    layer = json.loads(reading.resolve().body)["layers"][0]
    wanted = Descriptor("", Digest.parse(layer["digest"]), layer["size"])
    content = whole(reading, wanted)

    windows = [(0, 32), (500, 600), (1500, 1), (3000, 2000), (len(content) - 40, 40)]
    pieces = reading.read_windows(wanted, windows)

    assert pieces == [content[offset : offset + length] for offset, length in windows]
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        assert opened.getnames()


def test_a_damaged_squashfs_is_named(tmp_path: Path) -> None:
    image = squashfs(tree(tmp_path / "root"), tmp_path / "x.sqsh")
    content = image.read_bytes()
    for damaged in (content[:100], content[:5000], content[:96] + bytes(len(content) - 96)):
        image.write_bytes(damaged)
        assert "cannot read" in refusal(str(image))
    image.write_bytes(b"x" * 10_000)
    assert "is no squashfs" in refusal(str(image))


def test_a_damaged_or_compressed_erofs_is_named(tmp_path: Path) -> None:
    place = tree(tmp_path / "root")
    (place / "zeros").write_bytes(bytes(50_000))
    assert "without -z" in refusal(str(erofs(place, tmp_path / "z.erofs", "-zlz4")))
    image = erofs(place, tmp_path / "x.erofs")
    content = image.read_bytes()
    for damaged in (b"", content[:1000], content[:1200], b"x" * 10_000):
        image.write_bytes(damaged)
        assert "as an erofs image" in refusal(str(image))


def test_a_folder_of_an_erofs_that_lies_in_itself_has_an_end(tmp_path: Path) -> None:
    image = erofs(tree(tmp_path / "root"), tmp_path / "x.erofs")
    with image.open("r+b") as opened:
        inodes = ErofsImage([opened.fileno()]).inodes
        start = inodes.pieces(inodes.inode(inodes.root))[0].offset
        opened.seek(start)
        block = opened.read(4096)
        # Each entry of the root's folder, whatever it is, leads to the root.
        for number in range(int.from_bytes(block[8:10], "little") // 12):
            opened.seek(start + 12 * number)
            opened.write(inodes.root.to_bytes(8, "little"))

    assert "256 deep" in refusal(str(image))


def test_no_damage_to_a_file_system_image_does_harm(tmp_path: Path) -> None:
    """Bytes of superblock, inodes, names and tables, changed at random."""
    root = tree(tmp_path / "root")
    chance = random.Random(4)  # noqa: S311 - the same damage each time
    limited = Settings("/x", max_image_bytes=2**24, max_entries=1000)
    for image, places in (
        (erofs(root, tmp_path / "x.erofs"), range(1024, 1792)),
        (squashfs(root, tmp_path / "x.sqsh"), [*range(0, 96, 2), *range(-900, 0, 16)]),
    ):
        content = image.read_bytes()
        for place in places:
            damaged = bytearray(content)
            damaged[place] ^= chance.randint(1, 255)
            image.write_bytes(damaged)
            with contextlib.suppress(HpcboxError):
                everything(source_of(parse(str(image)), limited))


def test_a_missing_program_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = squashfs(tree(tmp_path / "root"), tmp_path / "x.sqsh")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "package squashfs-tools" in refusal(str(image))


def test_a_local_image_has_limits(tmp_path: Path) -> None:
    place = tree(tmp_path / "root")
    image = squashfs(place, tmp_path / "x.sqsh")
    for text in (f"dir:{place}", str(image)):
        for settings in (Settings("/x", max_entries=3), Settings("/x", max_image_bytes=5000)):
            with pytest.raises(HpcboxError, match="the setting max_"):
                source_of(parse(text), settings).resolve()

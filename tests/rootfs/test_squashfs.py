"""A layer's squashfs image: what the kernel and our own reader show of it, and of damaged ones."""

import os
import random
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbox.errors import StoreError
from hpcbox.rootfs import layer_view
from hpcbox.rootfs.layer_view import LayerFolder
from hpcbox.rootfs.squashfs_format import BLOCK
from hpcbox.rootfs.squashfs_sink import SquashfsSink
from hpcbox.rootfs.tree import FILE, FOLDER
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.store.paths import SQUASHFS_IMAGE
from hpcbox.store.sink import LayerSink
from tests.rootfs.images import Seen, seen
from tests.rootfs.mounted import opened, with_root
from tests.rootfs.unpacking import Bytes, budget
from tests.services.small_images import Item, file, folder, hardlink, opaque, symlink, tar, whiteout

SIZES = [0, 1, 4095, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5]


def made(sink: LayerSink, layer: Path, items: list[Item]) -> Path:
    """Make a layer of a tar with these entries."""
    layer.mkdir()
    sink.unpack(Bytes(tar(*items), 100_000), str(layer), budget())
    return layer


def shown(layer: Path) -> dict[str, Seen]:
    """Return what the kernel shows of a layer.

    Not of folders: how many names they have, and the time of those without an entry.
    """
    found = with_root([layer], seen)
    return {
        path: one._replace(names=1, mtime_ns=None) if one.kind == FOLDER else one
        for path, one in found.items()
    }


def assert_as_a_folder(items: list[Item], scratch: Path) -> None:
    """Check that the kernel shows of an image what it shows of a folder, and that it is sound."""
    image = made(SquashfsSink(), scratch / "image", items)

    assert shown(image) == shown(made(DirectorySink(), scratch / "folder", items))
    subprocess.run(
        [
            "unsquashfs",
            "-no-progress",
            "-quiet",
            "-dest",
            scratch / "unpacked",
            image / SQUASHFS_IMAGE,
        ],
        check=True,
    )


def test_the_kernel_shows_of_all_kinds_what_a_folder_shows(tmp_path: Path) -> None:
    note = {"SCHILY.xattr.user.note": "v" * 3000, "SCHILY.xattr.user.other": ""}
    items = [
        folder("closed", 0o500),
        file("closed/file", b"inside", 0o400),
        symlink("closed/link", "x/" * 2000),
        hardlink("again", "closed/file"),
        hardlink("closed/third", "closed/file"),
        Item("pipe", kind=tarfile.FIFOTYPE, mode=0o640),
        Item("noted", b"abc", pax=note),
        Item("also noted", b"abc", pax=note),
        Item("noted folder", kind=tarfile.DIRTYPE, mode=0o755, pax=note),
        folder("hiding"),
        opaque("hiding"),
        file("hiding/new"),
        whiteout("gone"),
    ]

    assert_as_a_folder(items, tmp_path)


def test_files_of_all_sizes_come_back_whole(tmp_path: Path) -> None:
    chance = random.Random(1)  # noqa: S311 - the same content each time
    items = []
    for size in SIZES:
        items.append(file(f"random-{size}", chance.randbytes(size)))
        items.append(file(f"zeros-{size}", bytes(size)))
        items.append(file(f"packs-{size}", b"0123456789abcdef" * (size // 16)))
        items.append(hardlink(f"linked-{size}", f"random-{size}"))
    items.append(file("hole", b"a" * BLOCK + bytes(2 * BLOCK) + b"b"))

    assert_as_a_folder(items, tmp_path)


def test_folders_of_any_number_of_names_come_back_whole(tmp_path: Path) -> None:
    items = []
    for count in (0, 1, 255, 256, 257, 1300):
        items.append(folder(f"{count}"))
        items += [file(f"{count}/{number:04}{'n' * (number % 100)}") for number in range(count)]
        items.append(folder(f"{count}/below/deep"))

    assert_as_a_folder(items, tmp_path)


def test_a_layer_without_any_entry_is_an_image(tmp_path: Path) -> None:
    assert_as_a_folder([], tmp_path)


def test_the_same_tar_gives_the_same_bytes(tmp_path: Path) -> None:
    items = [file(f"{number}", b"x" * number * 999) for number in range(300)]

    images = [made(SquashfsSink(), tmp_path / name, items) / SQUASHFS_IMAGE for name in "ab"]

    assert images[0].read_bytes() == images[1].read_bytes()


def test_our_reader_sees_what_the_tar_held(tmp_path: Path) -> None:
    chance = random.Random(2)  # noqa: S311 - the same content each time
    content = {b"f%d" % size: chance.randbytes(size) + bytes(size) for size in SIZES}
    items = [file(name.decode(), value) for name, value in content.items()]

    layer = opened(made(SquashfsSink(), tmp_path / "layer", items))
    root = layer_view.opened(layer)

    assert set(root.names()) == set(content)
    for name, value in content.items():
        assert _content(root, name) == value
    layer.close()


def _content(folder: LayerFolder, name: bytes) -> bytes:
    with os.fdopen(folder.open(name), "rb") as copy:
        return copy.read()


def _walked(folder: LayerFolder, depth: int = 0) -> None:
    """Read all of a layer."""
    folder.itself()
    for name in list(folder.names()):
        node = folder.look(name)
        folder.xattrs(name)
        if node is not None and node.kind == FILE and node.size_bytes < 2**24:
            os.close(folder.open(name))
        elif node is not None and node.kind == FOLDER and depth < 8:
            inner = folder.enter(name)
            _walked(inner, depth + 1)
            inner.close()


@pytest.fixture(scope="module")
def image() -> bytes:
    """An image with something of everything."""
    pax = {"SCHILY.xattr.user.note": "v"}
    items = [folder("a"), opaque("a"), symlink("a/l", "x"), Item("a/n", b"1", pax=pax)]
    items += [file("a/big", random.Random(3).randbytes(2 * BLOCK)), hardlink("b", "a/n")]  # noqa: S311
    items += [file(f"f{number}", b"%d" % number) for number in range(40)]
    with TemporaryDirectory() as scratch:
        return (made(SquashfsSink(), Path(scratch, "layer"), items) / SQUASHFS_IMAGE).read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_image_is_an_error_and_nothing_else(image: bytes, data: st.DataObject) -> None:
    spoiled = bytearray(image)
    # The tables, at the end, and the superblock: most of what is between is content.
    places = st.one_of(st.integers(0, 95), st.integers(len(image) - 6000, len(image) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1)):
        spoiled[place] = value
    cut = data.draw(st.sampled_from([len(spoiled), len(spoiled) // 2, 50, 0]))
    with TemporaryDirectory() as scratch:
        Path(scratch, SQUASHFS_IMAGE).write_bytes(spoiled[:cut])
        layer = opened(Path(scratch))
        try:
            _walked(layer_view.opened(layer))
        except (StoreError, OSError):
            return
        finally:
            layer.close()

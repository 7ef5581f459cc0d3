"""Erofs images read without mounting them: as the kernel shows them, and damaged ones."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbox.errors import StoreError
from hpcbox.rootfs import layer_view, stack
from hpcbox.rootfs.erofs_view import ErofsImage
from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.rootfs.layer_view import LayerFolder
from hpcbox.rootfs.root_files import StackedRoot
from hpcbox.rootfs.tree import FILE, FOLDER, Node
from hpcbox.rootfs.tree_copy import tree_of
from hpcbox.store.opened_layer import OpenedLayer, open_in
from hpcbox.store.sink import LayerSink
from tests.rootfs.images import mounted, seen
from tests.rootfs.unpacking import Bytes, budget
from tests.services.small_images import (
    Item,
    file,
    folder,
    hardlink,
    opaque,
    symlink,
    tar,
    whiteout,
)

ITEMS = (
    folder("a", 0o711),
    file("a/file", b"content\n" * 300, 0o640),
    *(file(f"a/{number:04}-a-longer-name", b"%d" % number) for number in range(300)),
    symlink("a/link", "file"),
    symlink("long", "x/" * 1500 + "y"),
    hardlink("again", "a/file"),
    Item(
        "attributes", b"x", pax={"SCHILY.xattr.user.one": "1", "SCHILY.xattr.user.two": "2" * 900}
    ),
    file("empty", b""),
    folder("hides"),
    opaque("hides"),
    whiteout("gone"),
    Item("old", b"x", mtime=-5),
)
SINKS: dict[str, LayerSink] = {"index": IndexSink(), "erofs": ErofsSink()}


def make(folder_path: Path, sink: LayerSink) -> Path:
    """Make a layer of all that a layer can hold."""
    folder_path.mkdir()
    sink.unpack(Bytes(tar(*ITEMS)), str(folder_path), budget())
    return folder_path


@contextmanager
def opened(layer: Path) -> Iterator[OpenedLayer]:
    """Open a layer's files."""
    descriptor = os.open(layer, os.O_PATH)
    form = open_in(descriptor)
    os.close(descriptor)
    try:
        yield form
    finally:
        form.close()


def everything(folder_of_layer: LayerFolder, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield all that can be read of a folder and what is in it."""
    for name in sorted(folder_of_layer.names()):
        node = folder_of_layer.look(name)
        assert node is not None
        below = f"{path}{os.fsdecode(name)}"
        content = node.target
        if node.kind == FILE:
            with open(folder_of_layer.open(name), "rb") as copy:
                content = copy.read()
        mode = node.kind | node.mode
        attributes = folder_of_layer.xattrs(name)
        yield below, (mode, node.mtime_ns, node.is_opaque, content, attributes)
        if node.kind == FOLDER:
            yield from everything(folder_of_layer.enter(name), f"{below}/")


@pytest.mark.parametrize("sink", SINKS)
def test_an_image_is_read_as_the_kernel_shows_it(tmp_path: Path, sink: str) -> None:
    layer = make(tmp_path / "layer", SINKS[sink])

    with opened(layer) as form:
        found = dict(everything(layer_view.opened(form)))

    with mounted(layer) as root:
        expected = seen(root)
    del expected[""]
    assert found.keys() == expected.keys()
    for path, one in expected.items():
        attributes = {os.fsencode(name): value for name, value in one.attributes.items()}
        is_opaque = attributes.pop(b"user.overlay.opaque", b"") == b"y"
        content = b"" if stat.S_ISCHR(one.kind) else one.content
        assert found[path] == (one.kind | one.mode, one.mtime_ns, is_opaque, content, attributes)


@pytest.fixture(scope="module", params=SINKS)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer of each kind."""
    return make(tmp_path_factory.mktemp("image") / "layer", SINKS[request.param])


DAMAGE = st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=8)), min_size=1)


@settings(max_examples=150, deadline=None)
@given(damage=DAMAGE)
def test_a_damaged_image_is_a_store_error_or_another_image(
    image: Path, damage: list[tuple[int, bytes]]
) -> None:
    with opened(image) as form:
        content = bytearray(Path(f"/proc/self/fd/{form.descriptors[0]}").read_bytes())
        for place, what in damage:
            # Where the superblock and the first folders are, half of the time.
            at = place % (4096 if place % 2 else len(content))
            content[at : at + len(what)] = what
        read_all(bytes(content), form.descriptors[1:])


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 1))
def test_an_image_that_was_cut_is_a_store_error_or_another_image(image: Path, share: float) -> None:
    with opened(image) as form:
        content = Path(f"/proc/self/fd/{form.descriptors[0]}").read_bytes()
        read_all(content[: int(len(content) * share)], form.descriptors[1:])


def read_all(content: bytes, data: list[int]) -> None:
    """Read all of an image in memory; a StoreError is as good as an end."""
    file_in_memory = os.memfd_create("image")
    os.write(file_in_memory, content)
    try:
        with suppress(StoreError):
            found = ErofsImage([file_in_memory, *data])
            tree_of(found, lambda node, number: place(found, node, number))
            for number in found.names(found.root).values():
                with suppress(OSError):
                    os.close(found.open(number))
    finally:
        os.close(file_in_memory)


def place(image: ErofsImage, node: Node, number: int) -> None:
    """Find where a file's content lies."""
    pieces = image.inodes.pieces(image.inodes.inode(number))
    assert sum(piece.size for piece in pieces) == node.size_bytes


def test_the_files_of_an_image_are_found_through_its_symlinks(tmp_path: Path) -> None:
    layer = make(tmp_path / "layer", SINKS["index"])

    with opened(layer) as form, stack.opened([form]) as layers:
        root = StackedRoot(layers)
        with open(root.open("/a/link"), "rb") as copy:
            assert copy.read() == b"content\n" * 300
        assert len(root.names("/a")) == 302
        with pytest.raises(FileNotFoundError):
            root.open("/gone")

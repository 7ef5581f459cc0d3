"""Erofs indexes that we write: read back they are the tree that they were written from."""

import os
from collections.abc import Sequence
from typing import cast

import made_layers
from target import Target, promise

from hpcbox.errors import LayerRejected
from hpcbox.rootfs import erofs_writer, tar
from hpcbox.rootfs.erofs_view import ErofsImage
from hpcbox.rootfs.layer_image import grown
from hpcbox.rootfs.tree import FILE, FOLDER, SYMLINK, Node
from hpcbox.store.sink import Budget
from tests.rootfs.unpacking import Bytes
from tests.services import small_images


def _check(data: bytes) -> None:
    for items in made_layers.layers(data):
        content = small_images.tar(*items)
        try:
            tree, _ = grown(
                tar.TarReader(tar.pieces_of(Bytes(content))), Budget(2**30, 10**4), _place
            )
        except LayerRejected:
            continue
        image, blob = os.memfd_create("image"), os.memfd_create("data")
        try:
            os.write(blob, content)
            erofs_writer.write_index(image, tree.root, [len(content)])
            view = ErofsImage([image, blob])
            _compare(tree.root, view, view.root, {})
        finally:
            os.close(image)
            os.close(blob)


def _place(_node: Node, _entry: tar.Entry, _reader: tar.TarReader) -> None:
    """Leave the content where it lies."""


def _compare(node: Node, view: ErofsImage, number: int, met: dict[int, int]) -> None:
    # Every name of a file has to lead to one inode.
    promise(met.setdefault(id(node), number) == number, "a hardlink became two files")
    read = view.node(number)
    promise(read.kind == node.kind, "another kind")
    promise(read.mode == node.mode, "another mode")
    promise(read.mtime_ns == node.mtime_ns, f"time {read.mtime_ns}, not {node.mtime_ns}")
    promise(read.is_opaque == node.is_opaque, "opaque or not")
    if node.kind in (FILE, SYMLINK):
        promise(read.size_bytes == node.size_bytes, "another size")
        promise(read.target == node.target, "another target")
        promise(read.names == node.names, f"{read.names} names, not {node.names}")
    kept = {name: value for name, value in view.xattrs(number).items() if name.startswith(b"user.")}
    kept.pop(b"user.overlay.opaque", None)
    promise(kept == (node.xattrs or {}), f"attributes {kept}")
    if node.kind != FOLDER:
        return
    children = cast("dict[bytes, Node]", node.children)
    names = view.names(number)
    promise(set(names) == set(children), f"names {sorted(names)}, not {sorted(children)}")
    # The kernel looks names up by halves.
    promise(list(names) == sorted(names), "names are in no order")
    for name, inner in names.items():
        _compare(children[name], view, inner, met)


def _plant() -> str:
    vars(erofs_writer)["sorted"] = lambda names, **_key: list(names)
    return "names are written as they come"


def _seeds() -> Sequence[bytes]:
    return made_layers.seeds()


TARGET = Target(
    (
        "hpcbox.rootfs.erofs_writer",
        "hpcbox.rootfs.erofs_view",
        "hpcbox.rootfs.erofs_inode",
        "hpcbox.rootfs.growing",
    ),
    _seeds,
    _check,
    _plant,
    longest_bytes=300,
)

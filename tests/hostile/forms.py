"""All ways in which a stack of layers is unpacked: what refuses an entry in one, does in all."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hpcbox.image.source import ByteStream
from hpcbox.rootfs import settle, settled
from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.rootfs.plain import PlainLayer, PlainRoot
from hpcbox.rootfs.squashfs_sink import SquashfsSink
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.store.sink import Budget, Needs, Unpacked
from tests.rootfs.unpacking import budget

Unpack = Callable[[ByteStream, str, Budget], Unpacked]
SINKS: dict[str, Unpack] = {
    "directory": DirectorySink().unpack,
    "index": IndexSink().unpack,
    "erofs": ErofsSink().unpack,
    "squashfs": SquashfsSink().unpack,
}
FORMS = (*SINKS, "unpack")
READABLE_FORMS = ("directory", "index", "erofs", "unpack")
"""Those that can be read without mounting them, and so lean on layers below."""


def take(
    form: str, folder: Path, streams: Sequence[ByteStream], limits: Budget | None = None
) -> None:
    """Unpack layers (bottom first) into a new folder, as a pull or `hpcbox unpack` would.

    Raises:
        HpcboxError: they were refused.
    """
    limits = limits or budget()
    folder.mkdir()
    if form == "unpack":
        _lay(folder, streams, limits)
    else:
        _stack(SINKS[form], folder, streams, limits)


def _lay(folder: Path, streams: Sequence[ByteStream], limits: Budget) -> None:
    layers = [PlainLayer(f"{folder}/{number}") for number in range(len(streams))]
    for layer, stream in zip(layers, streams, strict=True):
        layer.unpack(stream, limits)
    root = PlainRoot(f"{folder}/root")
    for layer in layers:
        root.lay(layer)
    root.close()


def _stack(unpack: Unpack, folder: Path, streams: Sequence[ByteStream], limits: Budget) -> None:
    below: list[int] = []
    try:
        for number, stream in enumerate(streams):
            layer = folder / str(number)
            layer.mkdir()
            needs = unpack(stream, str(layer), limits).needs
            below.append(os.open(layer, os.O_RDONLY))
            if needs != Needs() and not settle.fits(needs, below[:-1]):
                copy = folder / f"{number}-settled"
                copy.mkdir()
                settled.make(needs, below[-1], below[:-1], str(copy))
                below[-1], old = os.open(copy, os.O_RDONLY), below[-1]
                os.close(old)
    finally:
        for descriptor in below:
            os.close(descriptor)

"""Stacks of layers in plain folders: nothing outside, and what overlayfs would show of them."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import made_layers
from target import Target, promise

from hpcbox.errors import LayerRejected
from hpcbox.rootfs import plain
from tests.hostile.outside import Outside
from tests.rootfs.laying import laid
from tests.rootfs.unpacking import listing, merged, stacked

# In memory: tens of files a time, hundreds of times a second.
_SCRATCH = "/dev/shm"  # noqa: S108 - folders in it get names of their own


def _check(data: bytes) -> None:
    layers = made_layers.layers(data)
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as scratch:
        outside = Outside(Path(scratch))
        found = _outcome(lambda: listing(laid(Path(scratch, "root"), *layers)))
        shown = _outcome(lambda: merged(stacked(Path(scratch, "stack"), *layers)))
        outside.check("root", "stack")
    promise(found == shown, f"{found}, not {shown}")


def _outcome(make: Callable[[], dict[str, str]]) -> dict[str, str] | str:
    try:
        return make()
    except LayerRejected as error:
        promise(len(str(error)) <= 600, "a message is longer than 600 characters")
        return "refused"


def _seeds() -> Sequence[bytes]:
    return made_layers.seeds()


def _plant() -> str:
    vars(plain)["_carried_out"] = lambda content, _onto: [
        item for item in content if not item[0].startswith(b".wh.")
    ]
    return "whiteouts are not carried out"


TARGET = Target(
    (
        "hpcbox.rootfs.plain",
        "hpcbox.rootfs.entries",
        "hpcbox.rootfs.notes",
        "hpcbox.rootfs.beneath",
        "hpcbox.rootfs.settle",
        "hpcbox.rootfs.folder_copy",
    ),
    _seeds,
    _check,
    _plant,
    longest_bytes=150,
)

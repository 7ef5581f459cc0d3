"""Erofs files of users, read and never mounted: refused, or entries that layers may hold."""

import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import made_layers
from target import Target, promise

from hpcbox.errors import HpcboxError, ImageError
from hpcbox.rootfs import erofs_inode, erofs_view
from hpcbox.rootfs.erofs_tree import ErofsTree
from hpcbox.rootfs.layer_image import ErofsSink
from hpcbox.store.sink import Budget
from tests.rootfs.unpacking import Bytes
from tests.services import small_images

_MAXIMUM_ENTRIES, _MAXIMUM_BYTES = 500, 2**20


def _check(data: bytes) -> None:
    file = os.memfd_create("image")
    try:
        os.write(file, data)
        try:
            _walk(f"/proc/self/fd/{file}")
        except ImageError as error:
            promise(str(error).isprintable(), "a message moves the terminal")
            promise(len(str(error)) <= 600, "a message is longer than 600 characters")
    finally:
        os.close(file)


def _walk(path: str) -> None:
    entries = size = 0
    walk = ErofsTree(path).walk()
    try:
        for entry in walk:
            entries += 1
            promise(b"\0" not in entry.name, "a name holds NUL")
            promise(b".." not in entry.name.split(b"/"), "a name leads out")
            for piece in walk.content():
                size += len(piece)
                if size > _MAXIMUM_BYTES:
                    return
            if entries > _MAXIMUM_ENTRIES:
                return
    finally:
        walk.close()


_SUPERBLOCK, _SUPERBLOCK_BYTES = 1024, 128
_NUMBERS = (0, 1, 2, 3, 7, 12, 0x7F, 0x80, 0xFF, 0x1000, 0x4000, 0x8000, 0xFFFF, 2**31, 2**32 - 1)


def _mutate(data: bytes, longest: int, seed: int) -> bytes:
    """Change some numbers where they are likely to be, or let libFuzzer do it."""
    import atheris  # noqa: PLC0415 - the targets are tests, too, where it may be missing

    chance = random.Random(seed)  # noqa: S311 - the same seed has to give the same input
    if chance.randrange(3) == 0 or len(data) < 2 * _SUPERBLOCK:
        return bytes(atheris.Mutate(data, longest))
    made = bytearray(data)
    # What isn't zero is metadata, nearly all of it.
    places = [at for at in range(_SUPERBLOCK, len(made) - 8, 2) if made[at]]
    for _ in range(chance.randrange(1, 4)):
        width = chance.choice((1, 2, 4, 8))
        if chance.randrange(4) == 0:
            at = _SUPERBLOCK + chance.randrange(0, _SUPERBLOCK_BYTES, 2)
        else:
            at = chance.choice(places or [_SUPERBLOCK])
        number = chance.choice(_NUMBERS) % 256**width
        made[at : at + width] = number.to_bytes(width, "little")
    return bytes(made[:longest])


def _seeds() -> Sequence[bytes]:
    found = []
    for seed in made_layers.seeds():
        for items in made_layers.layers(seed):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    stream = Bytes(small_images.tar(*items))
                    ErofsSink().unpack(stream, folder, Budget(2**30, 10**4))
                except HpcboxError:
                    continue
                found.append(Path(folder, "image.erofs").read_bytes())
    return found


def _plant() -> str:
    for module in (erofs_inode, erofs_view):
        vars(module)["damaged"] = IndexError
    return "a damaged image ends the program"


TARGET = Target(
    ("hpcbox.rootfs.erofs_tree", "hpcbox.rootfs.erofs_view", "hpcbox.rootfs.erofs_inode"),
    _seeds,
    _check,
    _plant,
    longest_bytes=2**15,
    mutate=_mutate,
)

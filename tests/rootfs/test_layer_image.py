"""A layer's file system image, read by the kernel, shows what is in the tar."""

import io
import random
import stat
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import pytest

from hpcbox.rootfs.layer_image import IMAGE, ErofsSink, IndexSink
from hpcbox.store.sink import Needs
from tests.rootfs.images import Seen, Unpacks, made_and_seen
from tests.rootfs.unpacking import Bytes, budget
from tests.services.small_images import (
    Item,
    file,
    folder,
    hardlink,
    symlink,
    tar,
)

_KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}
SINKS = [pytest.param(IndexSink(), id="index"), pytest.param(ErofsSink(), id="full")]


@pytest.mark.parametrize("sink", SINKS)
def test_the_kernel_shows_what_python_sees_in_the_tar(sink: Unpacks, tmp_path: Path) -> None:
    layer = _ordinary_layer()

    unpacked, found = made_and_seen(sink, layer, tmp_path)

    expected = dict(_as_python_sees(layer))
    assert found == expected
    assert unpacked.entries == len(expected)
    assert unpacked.needs == Needs()


@pytest.mark.parametrize("sink", SINKS)
def test_the_same_tar_gives_the_same_bytes(sink: Unpacks, tmp_path: Path) -> None:
    layer = _ordinary_layer()
    images = []
    for number, piece in enumerate([2**18, 1000]):
        made = tmp_path / str(number)
        made.mkdir()
        sink.unpack(Bytes(layer, piece), str(made), budget())
        images.append((made / IMAGE).read_bytes())

    assert images[0] == images[1]


def test_fsck_finds_nothing_wrong_with_a_full_image(tmp_path: Path) -> None:
    ErofsSink().unpack(Bytes(_ordinary_layer()), str(tmp_path), budget())

    subprocess.run(["fsck.erofs", "--extract", str(tmp_path / IMAGE)], check=True)


def test_an_index_keeps_every_byte_of_the_tar_and_what_follows_it(tmp_path: Path) -> None:
    layer = _ordinary_layer() + b"what tape drives add" * 1000

    IndexSink().unpack(Bytes(layer), str(tmp_path), budget())

    assert (tmp_path / "data.1").read_bytes() == layer


def _ordinary_layer() -> bytes:
    chance = random.Random(1)  # noqa: S311 - the same layer each time
    items: list[Item] = [folder("./", 0o711)]
    for number in range(40):
        where = f"folder-{number}"
        items.append(folder(where, 0o700 + number))
        for inner in range(chance.choice([0, 1, 3, 40, 200 if number % 20 == 0 else 5])):
            size = chance.choice([0, 1, 511, 512, 513, 4095, 4096, 4097, 70000])
            name = f"{where}/{'n' * chance.randint(1, 200)}-{inner}"
            items.append(file(name, chance.randbytes(size), chance.randrange(0o1000)))
        items.append(Item(f"{where}/old", b"1", mtime=-(10**9)))
        items.append(Item(f"{where}/fine", b"2", pax={"mtime": "1600000000.123456789"}))
        items.append(symlink(f"{where}/short", "../there"))
        items.append(symlink(f"{where}/long", "x/" * chance.randint(1, 2000) + "end"))
        items.append(hardlink(f"{where}/again", f"{where}/old"))
        items.append(hardlink(f"{where}/!and-again", f"{where}/old"))
        items.append(Item(f"{where}/pipe", kind=tarfile.FIFOTYPE, mode=0o640))
        note = {f"SCHILY.xattr.user.note{each}": "v" * 100 * each for each in range(number % 7)}
        items.append(Item(f"{where}/noted", b"abc", pax=note))
    return tar(*items)


def _as_python_sees(layer: bytes) -> Iterator[tuple[str, Seen]]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        members = archive.getmembers()
        targets = Counter(member.linkname for member in members if member.islnk())
        folders = sum(member.isdir() for member in members)
        for member in members:
            path = member.name.removeprefix(".")
            real = archive.getmember(member.linkname) if member.islnk() else member
            names = 1 + targets[real.name]
            if real.isdir():
                names = 2 if path else 1 + folders
            yield path, _as_python_sees_file(archive, real, names)


def _as_python_sees_file(archive: tarfile.TarFile, member: tarfile.TarInfo, names: int) -> Seen:
    content = member.linkname.encode()
    if member.isreg():
        content = cast("IO[bytes]", archive.extractfile(member)).read()
    whole, _, fraction = member.pax_headers.get("mtime", str(member.mtime)).partition(".")
    attributes = {
        key.removeprefix("SCHILY.xattr."): value.encode()
        for key, value in member.pax_headers.items()
        if key.startswith("SCHILY.xattr.")
    }
    mtime_ns = int(whole) * 10**9 + int(fraction.ljust(9, "0"))
    return Seen(_KINDS[member.type], member.mode, mtime_ns, names, content, attributes)

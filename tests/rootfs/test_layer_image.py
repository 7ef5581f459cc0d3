"""A layer's file system image, read by the kernel, shows what is in the tar."""

import io
import os
import stat
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import pytest

from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.store.paths import EROFS_IMAGE
from hpcbox.store.sink import Needs
from tests.rootfs.images import Seen, Unpacks, made_and_seen, mounted
from tests.rootfs.odd_layers import ordinary_layer
from tests.rootfs.unpacking import Bytes, budget
from tests.services.small_images import Item, file, folder, tar

_KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}
SINKS = [pytest.param(IndexSink(), id="index"), pytest.param(ErofsSink(), id="full")]


@pytest.mark.parametrize("sink", SINKS)
def test_the_kernel_shows_what_python_sees_in_the_tar(sink: Unpacks, tmp_path: Path) -> None:
    layer = ordinary_layer()

    unpacked, found = made_and_seen(sink, layer, tmp_path)

    expected = dict(_as_python_sees(layer))
    assert found == expected
    assert unpacked.entries == len(expected)
    assert unpacked.needs == Needs()


@pytest.mark.parametrize("sink", SINKS)
def test_the_same_tar_gives_the_same_bytes(sink: Unpacks, tmp_path: Path) -> None:
    layer = ordinary_layer()
    images = []
    for number, piece in enumerate([2**18, 1000]):
        made = tmp_path / str(number)
        made.mkdir()
        sink.unpack(Bytes(layer, piece), str(made), budget())
        images.append((made / EROFS_IMAGE).read_bytes())

    assert images[0] == images[1]


def test_fsck_finds_nothing_wrong_with_a_full_image(tmp_path: Path) -> None:
    ErofsSink().unpack(Bytes(ordinary_layer()), str(tmp_path), budget())

    subprocess.run(["fsck.erofs", "--extract", str(tmp_path / EROFS_IMAGE)], check=True)


def test_an_index_keeps_every_byte_of_the_tar_and_what_follows_it(tmp_path: Path) -> None:
    layer = ordinary_layer() + b"what tape drives add" * 1000

    IndexSink().unpack(Bytes(layer), str(tmp_path), budget())

    assert (tmp_path / "data.1").read_bytes() == layer


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


@pytest.mark.parametrize("sink", SINKS)
def test_the_end_of_a_huge_sparse_file_is_where_it_belongs(sink: Unpacks, tmp_path: Path) -> None:
    # More than a chunk of an index can hold: a tebibyte.
    size = 3 * 2**39
    pax = {"GNU.sparse.size": str(size), "GNU.sparse.map": f"5,3,{size - 4},4"}
    layer = tar(Item("huge", b"abc" + b"last", pax=pax), Item("after", b"after"))
    sink.unpack(Bytes(layer), str(tmp_path), budget(maximum_bytes=2**50))

    with mounted(tmp_path) as root, (root / "huge").open("rb") as huge:
        begin = huge.read(10)
        huge.seek(-6, os.SEEK_END)
        end = huge.read()
        assert (begin, end) == (bytes(5) + b"abc" + bytes(2), bytes(2) + b"last")
        assert (root / "huge").stat().st_size == size
        assert (root / "after").read_bytes() == b"after"


@pytest.mark.parametrize("sink", SINKS)
def test_a_folder_of_many_names_is_found_name_by_name(sink: Unpacks, tmp_path: Path) -> None:
    names = [f"wide/{number}" for number in range(20000)]
    layer = tar(folder("wide"), *[file(name, name.encode()) for name in names])
    sink.unpack(Bytes(layer), str(tmp_path), budget())

    with mounted(tmp_path) as root:
        assert len(os.listdir(root / "wide")) == len(names)
        assert all((root / name).read_bytes() == name.encode() for name in names[::97])
        assert not (root / "wide/20000").exists()

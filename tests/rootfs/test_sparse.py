"""Sparse files, as GNU tar writes them in four forms, get all their bytes and no more."""

import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpcbox.errors import BlobInvalid, ImageTooLarge
from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.store.paths import EROFS_IMAGE
from tests.rootfs.images import Unpacks, made_and_seen
from tests.rootfs.unpacking import Bytes, budget
from tests.services.small_images import Item, file, tar

SINKS = [pytest.param(IndexSink(), id="index"), pytest.param(ErofsSink(), id="full")]
ALL_SINKS: list[Unpacks] = [DirectorySink(), IndexSink(), ErofsSink()]
FORMS = {
    "old": ["--format=gnu"],
    "0.0": ["--format=posix", "--sparse-version=0.0"],
    "0.1": ["--format=posix", "--sparse-version=0.1"],
    "1.0": ["--format=posix", "--sparse-version=1.0"],
}
MEBIBYTE = 2**20


def _sparse_layer(folder: Path, form: str) -> tuple[bytes, bytes]:
    """Return a tar that GNU tar wrote, and the content of its sparse file `d/holes`."""
    source = folder / "source" / "d"
    source.mkdir(parents=True)
    (source / "before").write_bytes(b"before")
    with (source / "holes").open("wb") as holes:
        # More parts than fit into one header of the old form.
        for number in range(60):
            holes.seek(number * 64 * 1024)
            holes.write(b"%d" % number * 1500)
        holes.truncate(5 * MEBIBYTE + 17)
    (source / "later").write_bytes(b"later")
    command = ["tar", "--create", "--sparse", "--sort=name", *FORMS[form], "-C", str(source), "."]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    content = (source / "holes").read_bytes()
    assert len(done.stdout) < len(content)
    return done.stdout, content


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sink", SINKS)
def test_an_image_shows_a_sparse_file_whole(sink: Unpacks, form: str, tmp_path: Path) -> None:
    layer, content = _sparse_layer(tmp_path, form)

    _, found = made_and_seen(sink, layer, tmp_path)

    assert found["holes"].content == content
    assert found["before"].content == b"before"
    assert found["later"].content == b"later"


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_gets_a_sparse_file_whole_and_with_its_holes(form: str, tmp_path: Path) -> None:
    layer, content = _sparse_layer(tmp_path, form)

    DirectorySink().unpack(Bytes(layer, 1000), str(tmp_path), budget())

    made = tmp_path / "fs/holes"
    assert made.read_bytes() == content
    assert made.stat().st_blocks * 512 < len(content)
    assert (tmp_path / "fs/later").read_bytes() == b"later"


@pytest.mark.parametrize("sink", SINKS)
def test_holes_stay_holes_on_disk(sink: Unpacks, tmp_path: Path) -> None:
    zeros = tar(file("zeros", bytes(8 * MEBIBYTE)))
    layer = tmp_path / "layer"
    layer.mkdir()

    sink.unpack(Bytes(zeros), str(layer), budget())

    assert sum(path.stat().st_blocks for path in layer.iterdir()) * 512 < MEBIBYTE


def test_the_size_of_a_sparse_file_counts_as_its_image_would(tmp_path: Path) -> None:
    huge = tar(_sparse({"size": 2**40, "map": "0,1"}, b"x"))

    for number, sink in enumerate(ALL_SINKS):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ImageTooLarge):
            sink.unpack(Bytes(huge), str(tmp_path / str(number)), budget(maximum_bytes=2**30))


def _sparse(attributes: Mapping[str, object], content: bytes) -> Item:
    pax = {f"GNU.sparse.{key}": str(value) for key, value in attributes.items()}
    return Item("lie", content, pax=pax)


ONE = {"major": 1, "minor": 0}
LIES = [
    pytest.param(_sparse({"size": 10, "map": "5,5,0,5"}, b"x" * 10), id="backwards"),
    pytest.param(_sparse({"size": 10, "map": "0,6,5,4"}, b"x" * 10), id="overlap"),
    pytest.param(_sparse({"size": 10, "map": "8,4"}, b"x" * 4), id="beyond the end"),
    pytest.param(_sparse({"size": 10, "map": "0,4"}, b"x" * 5), id="less than the tar holds"),
    pytest.param(_sparse({"size": 10, "map": "0,6"}, b"x" * 5), id="more than the tar holds"),
    pytest.param(_sparse({"size": 10, "map": "0"}, b""), id="half a part"),
    pytest.param(_sparse({"size": 10, "map": "-1,5"}, b"x" * 5), id="negative"),
    pytest.param(_sparse({"size": -1, "map": "0,0"}, b""), id="negative size"),
    pytest.param(_sparse({"map": "0,0"}, b""), id="no size"),
    pytest.param(_sparse({"size": 2**63 - 1, "map": f"{2**63 - 1},2"}, b"xx"), id="overflow"),
    pytest.param(_sparse({"major": 2, "minor": 0}, b""), id="unknown version"),
    pytest.param(_sparse(ONE | {"realsize": 9}, b""), id="no map"),
    pytest.param(_sparse(ONE | {"realsize": 9}, b"x" * 512), id="a map without numbers"),
    pytest.param(_sparse(ONE | {"realsize": 9}, b"9" * 30 + bytes(482)), id="endless number"),
    pytest.param(_sparse(ONE | {"realsize": 9}, b"99999999\n" * 600000), id="endless map"),
    pytest.param(_sparse(ONE | {"realsize": 9}, b"1\n0\n9\n".ljust(512)), id="map, no content"),
    pytest.param(
        Item("folder", kind=tarfile.DIRTYPE, pax={"GNU.sparse.size": "9"}), id="sparse folder"
    ),
]


@pytest.mark.parametrize("item", LIES)
@pytest.mark.parametrize("sink", ALL_SINKS)
def test_a_sparse_file_that_lies_is_refused(item: Item, sink: Unpacks, tmp_path: Path) -> None:
    with pytest.raises(BlobInvalid) as caught:
        sink.unpack(Bytes(tar(item)), str(tmp_path), budget())

    assert len(str(caught.value)) <= 600
    assert not (tmp_path / EROFS_IMAGE).exists() or not (tmp_path / EROFS_IMAGE).read_bytes()

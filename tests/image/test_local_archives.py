"""Layouts and archives that are not what they are said to be: one line, no hang."""

import contextlib
import gzip
import json
import os
import random
import tarfile
from pathlib import Path

import pytest

from hpcbox.errors import HpcboxError
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor
from tests.image.local import (
    LAYER,
    MANIFEST,
    archive,
    docker_archive,
    everything,
    layout,
    named,
    parts,
    refusal,
    source,
    whole,
)
from tests.services.small_images import (
    OCI_INDEX,
    digest,
    file,
    symlink,
    tar,
)


def nested(depth: int) -> tuple[dict[str, object], tuple[bytes, ...]]:
    """An index in an index in an index… around an image."""
    entry: dict[str, object] = named(MANIFEST)
    blobs = []
    for _ in range(depth):
        platform = {"os": "linux", "architecture": "amd64"}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX}
        body = json.dumps({**index, "manifests": [{**entry, "platform": platform}]}).encode()
        blobs.append(body)
        entry = named(body, media_type=OCI_INDEX)
    return entry, tuple(blobs)


@pytest.mark.parametrize("form", ["oci:", "oci-archive:", "docker-archive:", "dir:", ""])
def test_a_path_where_nothing_is_is_named(tmp_path: Path, form: str) -> None:
    assert f"there is no {tmp_path}/x.sqsh" in refusal(f"{form}{tmp_path}/x.sqsh")


def test_a_folder_that_is_no_layout_is_named(tmp_path: Path) -> None:
    assert "dir:PATH" in refusal(f"oci:{tmp_path}")


def test_an_index_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    place = layout(tmp_path / "x")
    (place / "index.json").write_bytes(b" " * (4 * 2**20 + 1))

    assert "more than 4194304 bytes" in refusal(f"oci:{place}")


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"manifests": 3}', b"[" * 100_000])
def test_an_index_that_is_none_is_named(tmp_path: Path, index: bytes) -> None:
    place = layout(tmp_path / "x")
    (place / "index.json").write_bytes(index)

    refusal(f"oci:{place}")


def test_of_several_images_one_must_be_named(tmp_path: Path) -> None:
    other = MANIFEST + b" "
    place = layout(tmp_path / "x", named(MANIFEST, "1"), named(other, "2"), blobs=(other,))

    assert "it has 1, 2" in refusal(f"oci:{place}")
    assert "no image '3'" in refusal(f"oci:{place}:3")
    everything(source(f"oci:{place}:2"))


def test_an_index_of_images_is_followed_and_one_of_indexes_is_not(tmp_path: Path) -> None:
    entry, blobs = nested(1)
    everything(source(f"oci:{layout(tmp_path / '1', entry, blobs=blobs)}"))

    entry, blobs = nested(2)
    refusal(f"oci:{layout(tmp_path / '2', entry, blobs=blobs)}")


def test_an_index_that_leads_to_itself_is_damaged(tmp_path: Path) -> None:
    entry, blobs = nested(1)
    place = layout(tmp_path / "x", entry, blobs=blobs)
    hexes = [digest(blob).removeprefix("sha256:") for blob in (*blobs, MANIFEST)]
    (place / "blobs/sha256" / hexes[1]).write_bytes(blobs[0])

    assert "the layout is damaged" in refusal(f"oci:{place}")


def test_a_blob_that_is_a_fifo_holds_up_nobody(tmp_path: Path) -> None:
    place = layout(tmp_path / "x")
    blob = place / "blobs/sha256" / digest(MANIFEST).removeprefix("sha256:")
    blob.unlink()
    os.mkfifo(blob)

    assert "is no file" in refusal(f"oci:{place}")


def test_a_digest_that_is_a_path_is_refused(tmp_path: Path) -> None:
    entry = {**named(MANIFEST), "digest": "sha256:../../../../../../../etc/passwd"}

    assert "digest" in refusal(f"oci:{layout(tmp_path / 'x', entry)}")


def test_a_job_s_image_is_found_when_its_name_has_moved_on(tmp_path: Path) -> None:
    other = MANIFEST + b" "
    place = layout(tmp_path / "x", named(other, "1"), blobs=(other,))

    assert source(f"oci:{place}:1", digest(MANIFEST)).resolve().body == MANIFEST
    assert "no longer holds" in refusal(f"oci:{place}:1", digest(b"gone"))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    whole_tar = tar(file("oci-layout", b"{}"), file("big", bytes(20_000)))
    headless = whole_tar[:600] + b"x" * 600 + whole_tar[1200:]
    cases = {
        "ends within a member": whole_tar[:9000],
        "ends within a header": whole_tar[:1300],
        "it is empty": b"",
        "is compressed": gzip.compress(whole_tar),
        "damaged": headless,
        "twice": tar(file("index.json"), file("index.json")),
        "no file 'oci-layout'": tar(file("other")),
        "no tar": b"x" * 5000,
    }
    for reason, content in cases.items():
        place = tmp_path / "x.tar"
        place.write_bytes(content)

        assert reason in refusal(f"oci-archive:{place}")


def test_no_damage_to_an_archive_does_harm(tmp_path: Path) -> None:
    """Bytes of headers and of the JSON in it, changed at random."""
    chance = random.Random(4)  # noqa: S311 - the same damage each time
    place = layout(tmp_path / "x")
    blobs = [Path("blobs/sha256") / path.name for path in (place / "blobs/sha256").iterdir()]
    names = ["oci-layout", "index.json", *map(str, blobs)]
    oci = tar(*[file(name, (place / name).read_bytes()) for name in names])
    docker = docker_archive(tmp_path / "y", file("1/layer.tar", LAYER)).read_bytes()
    for form, content in (("oci-archive:", oci), ("docker-archive:", docker)):
        for position in range(0, 4096, 7):
            damaged = bytearray(content)
            damaged[position] ^= chance.randint(1, 255)
            (tmp_path / "x.tar").write_bytes(damaged)
            with contextlib.suppress(HpcboxError):
                parts(source(f"{form}{tmp_path}/x.tar"))


def test_a_size_behind_the_archive_s_end_is_refused(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("oci-layout")
    entry.size = 2**62
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        place = tmp_path / "x.tar"
        place.write_bytes(entry.tobuf(form) + bytes(4096))

        assert "ends within a member" in refusal(f"oci-archive:{place}")


def test_what_a_docker_archive_lacks_is_named(tmp_path: Path) -> None:
    place = tmp_path / "x.tar"
    assert "no file '1/layer.tar'" in refusal(f"docker-archive:{docker_archive(place)}")
    outside = symlink("1/layer.tar", "../../../../etc/passwd")
    assert "no file '1/layer.tar'" in refusal(f"docker-archive:{docker_archive(place, outside)}")
    circle = symlink("1/layer.tar", "layer.tar")
    assert "no file '1/layer.tar'" in refusal(f"docker-archive:{docker_archive(place, circle)}")
    layer = file("1/layer.tar", LAYER)
    two = docker_archive(place, layer, layers=("1/layer.tar", "1/layer.tar"))
    assert "1 diff_ids" in refusal(f"docker-archive:{two}")
    assert "no image 'b:1'" in refusal(f"docker-archive:{docker_archive(place, layer)}:b:1")
    oci = archive(place, file("oci-layout", b"{}"))
    assert "write oci-archive:FILE" in refusal(f"docker-archive:{oci}")
    for nonsense in (b"{}", b"[3]", b"[{}]", b'[{"Config": 3, "Layers": []}]', b"[]", b"x"):
        refusal(f"docker-archive:{archive(place, file('manifest.json', nonsense))}")


def test_an_old_docker_archive_links_layers_and_may_compress_them(tmp_path: Path) -> None:
    members = file("0/layer.tar", gzip.compress(LAYER)), symlink("1/layer.tar", "../0/layer.tar")
    place = docker_archive(tmp_path / "x.tar", *members)

    everything(source(f"docker-archive:{place}:docker.io/library/a:1"))


def test_an_archive_that_is_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    place = docker_archive(tmp_path / "x.tar", file("1/layer.tar", LAYER))
    reading = source(f"docker-archive:{place}")
    reading.resolve()
    place.write_bytes(place.read_bytes() + bytes(512))

    with pytest.raises(HpcboxError, match="has changed while it was read"):
        whole(reading, Descriptor("", Digest.parse(digest(LAYER)), len(LAYER)))

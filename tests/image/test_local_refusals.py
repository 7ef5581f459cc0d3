"""Layouts, archives, folders and files that are not what they are said to be: one line, no hang."""

import contextlib
import gzip
import io
import json
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest

from hpcbox.errors import HpcboxError, ImageNotFound
from hpcbox.image.digest import Digest
from hpcbox.image.local_path import parse_typed, path_in_mind
from hpcbox.image.manifest import Descriptor
from hpcbox.image.reference import parse
from hpcbox.image.source import ImageSource, read_exactly
from hpcbox.rootfs.erofs_view import ErofsImage
from hpcbox.rootfs.sources import source_of
from hpcbox.settings import Settings
from tests.services.small_images import (
    OCI_INDEX,
    OCI_MANIFEST,
    Item,
    config_body,
    descriptor,
    digest,
    file,
    folder,
    symlink,
    tar,
)

LAYER = tar(folder("bin"), file("bin/tool", os.urandom(5000), 0o755))
CONFIG = config_body([digest(LAYER)])
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "config": descriptor(CONFIG_TYPE, CONFIG),
        "layers": [descriptor(LAYER_TYPE, LAYER)],
    }
).encode()


def named(content: bytes, name: str = "", media_type: str = OCI_MANIFEST) -> dict[str, object]:
    annotations = {"org.opencontainers.image.ref.name": name} if name else {}
    return {**descriptor(media_type, content), "annotations": annotations}


def layout(place: Path, *entries: dict[str, object], blobs: tuple[bytes, ...] = ()) -> Path:
    """Write a layout whose index lists these entries."""
    (place / "blobs/sha256").mkdir(parents=True)
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    index = {"schemaVersion": 2, "manifests": entries or [named(MANIFEST, "1")]}
    (place / "index.json").write_text(json.dumps(index))
    for blob in (MANIFEST, CONFIG, LAYER, *blobs):
        (place / "blobs/sha256" / digest(blob).removeprefix("sha256:")).write_bytes(blob)
    return place


def archive(place: Path, *members: Item) -> Path:
    place.write_bytes(tar(*members))
    return place


def docker_archive(place: Path, *more: Item, layers: tuple[str, ...] = ("1/layer.tar",)) -> Path:
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": layers}]).encode()
    members = [file("manifest.json", manifest), file("c.json", CONFIG), *more]
    return archive(place, *members)


def source(text: str, pinned: str | None = None) -> ImageSource:
    wanted = Digest.parse(pinned) if pinned else None
    return source_of(parse(text), Settings(store="/nonexistent"), wanted)


def whole(place: ImageSource, wanted: Descriptor) -> bytes:
    stream = place.open_blob(wanted)
    try:
        return read_exactly(stream, 2**30)
    finally:
        stream.close()


def refusal(text: str, pinned: str | None = None) -> str:
    """Resolve and read everything; return the one line that says why it can't be done."""
    with pytest.raises(HpcboxError) as caught:
        everything(source(text, pinned))
    line = str(caught.value)
    assert len(line) <= 600
    assert line.isprintable()
    return line


def everything(place: ImageSource) -> None:
    for wanted, content in parts(place):
        assert digest(content) == str(wanted.digest)


def parts(place: ImageSource) -> list[tuple[Descriptor, bytes]]:
    """Read config and layers, believing what they are said to be."""
    document = json.loads(place.resolve().body)
    wanted = [
        Descriptor(item["mediaType"], Digest.parse(item["digest"]), item["size"])
        for item in (document["config"], *document["layers"])
    ]
    return [(item, whole(place, item)) for item in wanted]


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


def test_a_folder_that_is_no_longer_the_job_s_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("new")

    assert "is no longer sha256:" in refusal(f"dir:{tmp_path}", digest(b"old"))


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
        for position in range(0, 4096, 3):
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


def tree(place: Path) -> Path:
    place.mkdir()
    (place / "sub").mkdir()
    for name in ("a", "b", "sub/c"):
        (place / name).write_bytes(os.urandom(3000))
    return place


def test_a_folder_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    place = tree(tmp_path / "root")
    reading = source(f"dir:{place}")
    layer = json.loads(reading.resolve().body)["layers"][0]
    wanted = Descriptor("", Digest.parse(layer["digest"]), layer["size"])
    (place / "sub/c").write_bytes(os.urandom(3000))

    with pytest.raises(HpcboxError, match="has changed while it was read"):
        whole(reading, wanted)


def squashfs(place: Path, image: Path) -> Path:
    options = ["-quiet", "-no-progress", "-noappend"]
    subprocess.run(["mksquashfs", place, image, *options], check=True, stdout=subprocess.DEVNULL)
    return image


@pytest.mark.parametrize("form", ["dir", "file", "docker-archive"])
def test_pieces_of_a_layer_prove_that_it_can_be_read(tmp_path: Path, form: str) -> None:
    place = tree(tmp_path / "root")
    text = {
        "dir": f"dir:{place}",
        "file": str(squashfs(place, tmp_path / "x.sqsh")),
        "docker-archive": "docker-archive:"
        + str(docker_archive(tmp_path / "x.tar", file("1/layer.tar", LAYER))),
    }[form]
    reading = source(text)
    layer = json.loads(reading.resolve().body)["layers"][0]
    wanted = Descriptor("", Digest.parse(layer["digest"]), layer["size"])
    content = whole(reading, wanted)

    windows = [(0, 32), (500, 600), (1500, 1), (3000, 2000), (len(content) - 40, 40)]
    pieces = reading.read_windows(wanted, windows)

    assert pieces == [content[offset : offset + length] for offset, length in windows]
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        assert opened.getnames()


def test_a_damaged_squashfs_is_named(tmp_path: Path) -> None:
    image = squashfs(tree(tmp_path / "root"), tmp_path / "x.sqsh")
    content = image.read_bytes()
    for damaged in (content[:100], content[:5000], content[:96] + bytes(len(content) - 96)):
        image.write_bytes(damaged)
        assert "cannot read" in refusal(str(image))
    image.write_bytes(b"x" * 10_000)
    assert "is no squashfs" in refusal(str(image))


def erofs(place: Path, image: Path, *options: str) -> Path:
    subprocess.run(["mkfs.erofs", "--quiet", *options, image, place], check=True)
    return image


def test_a_damaged_or_compressed_erofs_is_named(tmp_path: Path) -> None:
    place = tree(tmp_path / "root")
    (place / "zeros").write_bytes(bytes(50_000))
    assert "without -z" in refusal(str(erofs(place, tmp_path / "z.erofs", "-zlz4")))
    image = erofs(place, tmp_path / "x.erofs")
    content = image.read_bytes()
    for damaged in (b"", content[:1000], content[:1200], b"x" * 10_000):
        image.write_bytes(damaged)
        assert "as an erofs image" in refusal(str(image))


def test_a_folder_of_an_erofs_that_lies_in_itself_has_an_end(tmp_path: Path) -> None:
    image = erofs(tree(tmp_path / "root"), tmp_path / "x.erofs")
    with image.open("r+b") as opened:
        inodes = ErofsImage([opened.fileno()]).inodes
        start = inodes.pieces(inodes.inode(inodes.root))[0].offset
        opened.seek(start)
        block = opened.read(4096)
        # Each entry of the root's folder, whatever it is, leads to the root.
        for number in range(int.from_bytes(block[8:10], "little") // 12):
            opened.seek(start + 12 * number)
            opened.write(inodes.root.to_bytes(8, "little"))

    assert "256 deep" in refusal(str(image))


def test_no_damage_to_a_file_system_image_does_harm(tmp_path: Path) -> None:
    """Bytes of superblock, inodes, names and tables, changed at random."""
    root = tree(tmp_path / "root")
    chance = random.Random(4)  # noqa: S311 - the same damage each time
    limited = Settings("/x", max_image_bytes=2**24, max_entries=1000)
    for image, places in (
        (erofs(root, tmp_path / "x.erofs"), range(1024, 1792)),
        (squashfs(root, tmp_path / "x.sqsh"), [*range(0, 96, 2), *range(-900, 0, 16)]),
    ):
        content = image.read_bytes()
        for place in places:
            damaged = bytearray(content)
            damaged[place] ^= chance.randint(1, 255)
            image.write_bytes(damaged)
            with contextlib.suppress(HpcboxError):
                everything(source_of(parse(str(image)), limited))


def test_a_missing_program_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = squashfs(tree(tmp_path / "root"), tmp_path / "x.sqsh")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "package squashfs-tools" in refusal(str(image))


def test_a_local_image_has_limits(tmp_path: Path) -> None:
    place = tree(tmp_path / "root")
    image = squashfs(place, tmp_path / "x.sqsh")
    for text in (f"dir:{place}", str(image)):
        for settings in (Settings("/x", max_entries=3), Settings("/x", max_image_bytes=5000)):
            with pytest.raises(HpcboxError, match="the setting max_"):
                source_of(parse(text), settings).resolve()


def test_a_path_that_was_typed_without_its_form_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "Layout")
    (tmp_path / "Root").mkdir()
    (tmp_path / "X.tar").write_bytes(b"")
    for text, meant in {
        "./Layout": "'oci:./Layout' may be meant",
        "Root": "'dir:./Root' may be meant",
        "X.tar": "'oci-archive:./X.tar' or 'docker-archive:./X.tar' may be meant",
    }.items():
        with pytest.raises(HpcboxError) as caught:
            parse_typed(text, "docker.io")
        assert meant in str(caught.value)


def test_a_registry_without_an_image_lets_a_path_of_that_name_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images/root").mkdir(parents=True)

    with pytest.raises(ImageNotFound) as caught, path_in_mind("images/root"):
        raise ImageNotFound("registry docker.io has no image images/root", hint="check it")
    assert "— 'dir:./images/root' may be meant" in str(caught.value)
    with pytest.raises(ImageNotFound, match="check it"), path_in_mind("images/none"):
        raise ImageNotFound("registry docker.io has no image images/none", hint="check it")


def test_a_typed_path_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    for text, expected in {
        "oci:x:1": f"oci:{tmp_path}/x:1",
        "./a b.sqsh": f"{tmp_path}/a b.sqsh",
        "dir:.": f"dir:{tmp_path}",
        "~/x.sqsh": "/home/alice/x.sqsh",
        "docker-archive:~/x.tar:a:1": "docker-archive:/home/alice/x.tar:a:1",
        "/x/y.erofs": "/x/y.erofs",
        "debian:12": "docker.io/library/debian:12",
    }.items():
        assert str(parse_typed(text, "docker.io", str(tmp_path))) == expected

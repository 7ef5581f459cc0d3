"""What the tests of images of this machine share: making them by hand, and reading them."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from hpcbox.errors import HpcboxError
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor
from hpcbox.image.reference import parse
from hpcbox.image.source import ImageSource, read_exactly
from hpcbox.rootfs.sources import source_of
from hpcbox.settings import Settings
from tests.services.small_images import (
    OCI_MANIFEST,
    Item,
    config_body,
    descriptor,
    digest,
    file,
    folder,
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


def tree(place: Path) -> Path:
    place.mkdir()
    (place / "sub").mkdir()
    for name in ("a", "b", "sub/c"):
        (place / name).write_bytes(os.urandom(3000))
    return place


def squashfs(place: Path, image: Path) -> Path:
    options = ["-quiet", "-no-progress", "-noappend"]
    subprocess.run(["mksquashfs", place, image, *options], check=True, stdout=subprocess.DEVNULL)
    return image


def erofs(place: Path, image: Path, *options: str) -> Path:
    subprocess.run(["mkfs.erofs", "--quiet", *options, image, place], check=True)
    return image


def source(text: str, pinned: str | None = None) -> ImageSource:
    wanted = Digest.parse(pinned) if pinned else None
    return source_of(parse(text), Settings(store="/nonexistent"), wanted)


def whole(place: ImageSource, wanted: Descriptor) -> bytes:
    stream = place.open_blob(wanted)
    try:
        return read_exactly(stream, 2**30)
    finally:
        stream.close()


def parts(place: ImageSource) -> list[tuple[Descriptor, bytes]]:
    """Read config and layers, believing what they are said to be."""
    document = json.loads(place.resolve().body)
    wanted = [
        Descriptor(item["mediaType"], Digest.parse(item["digest"]), item["size"])
        for item in (document["config"], *document["layers"])
    ]
    return [(item, whole(place, item)) for item in wanted]


def everything(place: ImageSource) -> None:
    for wanted, content in parts(place):
        assert digest(content) == str(wanted.digest)


def refusal(text: str, pinned: str | None = None) -> str:
    """Resolve and read everything; return the one line that says why it can't be done."""
    with pytest.raises(HpcboxError) as caught:
        everything(source(text, pinned))
    line = str(caught.value)
    assert len(line) <= 600
    assert line.isprintable()
    return line

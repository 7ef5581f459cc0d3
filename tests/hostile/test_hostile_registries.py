"""Registries that lie: told with one line, nothing kept, nobody else asked."""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpcbox.errors import HpcboxError
from hpcbox.image.reference import parse
from hpcbox.rootfs.extract import extract
from hpcbox.rootfs.sources import source_of
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.small_images import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    compressed,
    config_body,
    descriptor,
    digest,
    file,
    push_image,
    tar,
)
from tests.store.pulling import LIMITS, pull_here, scratch, settings, visible

LAYER = tar(file("a"))
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as running:
        yield running


@dataclass(frozen=True)
class Lie:
    """What a manifest says that isn't so.

    Attributes:
        name: of the test.
        reason: a part of the message.
        change: changes a good manifest.
        code: the exit code.
        media_type: what the registry says the manifest is.
    """

    name: str
    reason: str
    change: Callable[[dict[str, Any]], object]
    code: int = 65
    media_type: str = OCI_MANIFEST


def layers(count: int) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest.update(layers=manifest["layers"] * count)


def first_layer(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["layers"][0].update(changes)


def config(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["config"].update(changes)


def top(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest.update(changes)


def an_index(**entry: object) -> Callable[[dict[str, Any]], object]:
    """Turn the manifest into an index with one entry."""
    platform = {"os": "linux", "architecture": "amd64"}
    wrong = {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 2, "platform": platform}

    def change(manifest: dict[str, Any]) -> None:
        manifest.clear()
        manifest.update(schemaVersion=2, mediaType=OCI_INDEX, manifests=[{**wrong, **entry}])

    return change


LIES = [
    Lie("501 layers", "501 layers", layers(501)),
    Lie("a hundred thousand layers", "more than 4194304 bytes", layers(100_000)),
    Lie("ten megabytes", "more than 4194304 bytes", top(annotations={"a": "x" * 10_000_000})),
    Lie("a negative size", "size", first_layer(size=-1)),
    Lie("a size of nobody's disks", "size", first_layer(size=2**60)),
    Lie("a size that is a fraction", "size", first_layer(size=1.5)),
    Lie("a size that is a truth", "size", first_layer(size=True)),
    Lie("a layer that is longer", "bytes", first_layer(size=10)),
    Lie("a layer that is shorter", "bytes", first_layer(size=100_000)),
    Lie("a digest of another kind", "sha256", first_layer(digest="md5:" + "0" * 32)),
    Lie("a digest that is a path", "digest", first_layer(digest="sha256:../../../etc/passwd")),
    Lie("a layer that isn't there", "has no blob", first_layer(digest=DIGEST), code=66),
    Lie("a layer of no files", "no layer of files", first_layer(mediaType="text/html\x1b[2J")),
    Lie("a huge config", "limit", config(size=2**30)),
    Lie("a config of another kind", "no container image", config(mediaType="a/b\nc")),
    Lie("no layers at all", "diff_ids", top(layers=[])),
    Lie("layers that are a table", "no list", top(layers={})),
    Lie("layers that are numbers", "no JSON object|not a JSON object", top(layers=[1])),
    Lie("an index and an image", "at once", top(manifests=[])),
    Lie("an old schema", "schema 1", top(schemaVersion=1)),
    Lie("another type than was said", "says it is", top(mediaType=DOCKER_MANIFEST)),
    Lie("an index without this platform", "no variant", an_index(platform={}), 66, OCI_INDEX),
    Lie("an index of indexes", "has no", an_index(mediaType=OCI_INDEX), 66, OCI_INDEX),
    Lie("an index of nothing", "has no", an_index(), 66, OCI_INDEX),
    Lie("an index of a name", "digest", an_index(digest="latest"), 65, OCI_INDEX),
]


@pytest.mark.parametrize("verb", ["pull", "unpack"])
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_a_manifest_that_lies_is_refused(
    registry: BadRegistry, tmp_path: Path, lie: Lie, verb: str
) -> None:
    manifest = good_manifest(registry, LAYER)
    lie.change(manifest)
    registry.push_manifest("image", "1", json.dumps(manifest).encode(), lie.media_type)

    check_refused(registry, tmp_path, verb, lie.reason, lie.code)


BODIES = [
    pytest.param(b"[" * 200_000, "no JSON", id="two hundred thousand lists in each other"),
    pytest.param(b'{"a":' * 100_000, "no JSON", id="tables in each other"),
    pytest.param(b'{"schemaVersion": ' + b"9" * 5000 + b"}", "no JSON", id="a number of a page"),
    pytest.param(b"\xff\xfe{}", "no JSON", id="no UTF-8"),
    pytest.param(b"", "no JSON", id="nothing"),
    pytest.param(b"null", "not a JSON object", id="null"),
    pytest.param(b'{"schemaVersion": 2, "layers": NaN}', "no list", id="not a number"),
    pytest.param(
        b'{"schemaVersion": 2, "mediaType": "\\ud800\\u001b[2J"}',
        "says|no manifest",
        id="surrogates",
    ),
]


@pytest.mark.parametrize(("body", "reason"), BODIES)
def test_bytes_that_are_no_manifest_are_refused(
    registry: BadRegistry, tmp_path: Path, body: bytes, reason: str
) -> None:
    registry.push_manifest("image", "1", body, OCI_MANIFEST)

    check_refused(registry, tmp_path, "pull", reason, 65)


@pytest.mark.parametrize("verb", ["pull", "unpack"])
def test_a_manifest_that_names_another_is_not_followed_in_a_circle(
    registry: BadRegistry, tmp_path: Path, verb: str
) -> None:
    # Each index names the next: no digest can be right for long.
    chain = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    for _ in range(5):
        platform = {"os": "linux", "architecture": "amd64"}
        inner = {**descriptor(OCI_MANIFEST, chain), "platform": platform}
        table = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner]}
        registry.push_manifest("image", "inner", chain, OCI_INDEX)
        chain = json.dumps(table).encode()
    registry.push_manifest("image", "1", chain, OCI_INDEX)

    check_refused(registry, tmp_path, verb, "index", 65)

    assert len(registry.received) <= 3


@pytest.mark.parametrize("verb", ["pull", "unpack"])
def test_addresses_in_a_manifest_are_never_asked(
    registry: BadRegistry, tmp_path: Path, verb: str
) -> None:
    blob = compressed(LAYER, "gzip")
    with BadRegistry() as elsewhere:
        manifest = good_manifest(registry, LAYER)
        urls = [f"http://{elsewhere.address}/{digest(blob)}", "file:///etc/passwd"]
        foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        manifest["layers"][0].update(urls=urls, mediaType=foreign, digest=DIGEST)
        registry.push_manifest("image", "1", json.dumps(manifest).encode(), OCI_MANIFEST)

        check_refused(registry, tmp_path, verb, "has no blob", 66)

        assert elsewhere.received == []


@pytest.mark.parametrize("verb", ["pull", "unpack"])
@pytest.mark.parametrize("path", ["/v2/image/manifests/", "/v2/image/blobs/"])
def test_content_that_differs_each_time_is_refused(
    registry: BadRegistry, tmp_path: Path, path: str, verb: str
) -> None:
    pinned = push_image(registry, "image:1", LAYER)
    numbers = itertools.count(1)
    registry.spoil(path, Fault(alter=lambda body: body[:-1] + b" " * next(numbers) + body[-1:]))

    check_refused(registry, tmp_path, verb, "", 65, reference=f"image@{pinned}")


@pytest.mark.parametrize("verb", ["pull", "unpack"])
def test_diff_ids_that_are_another_layers_are_refused(
    registry: BadRegistry, tmp_path: Path, verb: str
) -> None:
    other = tar(file("b"))
    push_image(registry, "image:1", LAYER, other, diff_ids=[digest(other), digest(LAYER)])

    check_refused(registry, tmp_path, verb, "not what was asked for", 65)


def good_manifest(registry: BadRegistry, *tars: bytes) -> dict[str, Any]:
    """Push blobs and a config; return the manifest that is right for them."""
    blobs = [compressed(each, "gzip") for each in tars]
    body = config_body([digest(each) for each in tars])
    for blob in (*blobs, body):
        registry.push_blob("image", blob)
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG_TYPE, body),
        "layers": [descriptor(LAYER_TYPE, blob) for blob in blobs],
    }


def check_refused(  # noqa: PLR0917 - the sentence of a test
    registry: BadRegistry,
    scratch_folder: Path,
    verb: str,
    reason: str,
    expected: int,
    reference: str = "image:1",
) -> None:
    store, image = scratch_folder / "store", f"{registry.address}/{reference}"

    with pytest.raises(HpcboxError) as caught:
        VERBS[verb](image, store)

    message = str(caught.value)
    assert caught.value.exit_code == expected, message
    assert any(part in message for part in reason.split("|")), message
    assert message.isprintable()
    assert len(message) <= 600
    assert visible(store) == set()
    assert scratch(store) == []
    assert set(os.listdir(scratch_folder)) <= {"store"}


def unpack_here(image: str, store: Path) -> object:
    """Unpack beside a store that isn't there."""
    source = source_of(parse(image), settings(store))
    return extract(source, str(store.with_name("root")), LIMITS, lambda _progress: None)


VERBS: dict[str, Callable[[str, Path], object]] = {"pull": pull_here, "unpack": unpack_here}

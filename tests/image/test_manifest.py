"""Manifests, indexes and configs: exact about what a container root needs."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbox.errors import HpcboxError, ImageNotFound, ManifestInvalid
from hpcbox.image.manifest import (
    Index,
    Manifest,
    Platform,
    choose_platform,
    parse_config,
    parse_manifest,
)
from tests.services.small_images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    config_body,
    descriptor,
    digest,
)

CONFIG = descriptor("application/vnd.oci.image.config.v1+json", b"{}")
LAYER = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b"layer")


def document(**changes: Any) -> bytes:
    table = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": CONFIG,
        "layers": [LAYER],
        **changes,
    }
    return json.dumps({key: value for key, value in table.items() if value != "absent"}).encode()


def test_a_manifest_has_its_layers_from_bottom_to_top() -> None:
    other = descriptor("application/vnd.oci.image.layer.v1.tar", b"other")

    manifest = parse_manifest(document(layers=[LAYER, other]), OCI_MANIFEST)

    assert isinstance(manifest, Manifest)
    assert [str(layer.digest) for layer in manifest.layers] == [digest(b"layer"), digest(b"other")]
    assert manifest.layers[0].size_bytes == 5


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_the_registry_s_word_counts_where_the_document_has_none(media_type: str) -> None:
    manifest = parse_manifest(document(mediaType="absent"), media_type)

    assert isinstance(manifest, Manifest)
    assert manifest.media_type == media_type


WRONG = {
    "not JSON": (b"{", "no JSON"),
    "a list": (b"[]", "not a JSON object"),
    "nested without end": (b'{"a":' * 100000, "no JSON"),
    "not UTF-8": (b"\xff\xfe", "no JSON"),
    "too large": (b" " * (4 * 2**20 + 1), "more than"),
    "schema 1": (document(schemaVersion=1), "schema 1"),
    "no schema": (document(schemaVersion="absent"), "schemaVersion"),
    "two kinds at once": (document(manifests=[]), "at once"),
    "another type than the registry said": (document(mediaType=DOCKER_MANIFEST), "says it is"),
    "no image": (document(config={**CONFIG, "mediaType": "application/x-helm"}), "no container"),
    "layer of another kind": (document(layers=[{**LAYER, "mediaType": "text/html"}]), "no layer"),
    "negative size": (document(layers=[{**LAYER, "size": -1}]), "size"),
    "huge size": (document(layers=[{**LAYER, "size": 2**70}]), "size"),
    "size as text": (document(layers=[{**LAYER, "size": "5"}]), "size"),
    "size as truth": (document(layers=[{**LAYER, "size": True}]), "size"),
    "no digest": (document(layers=[{**LAYER, "digest": None}]), "digest"),
    "short digest": (document(layers=[{**LAYER, "digest": "sha256:12"}]), "characters"),
    "digest with a path": (
        document(layers=[{**LAYER, "digest": "sha256:../../" + "a" * 58}]),
        "other characters",
    ),
    "layers no list": (document(layers={}), "no list"),
    "too many layers": (document(layers=[LAYER] * 501), "501 layers"),
    "config too large": (document(config={**CONFIG, "size": 5 * 2**20}), "config has"),
}


@pytest.mark.parametrize(("body", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_manifest_is_refused_with_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(body, OCI_MANIFEST)

    assert reason in str(caught.value)
    assert len(str(caught.value)) <= 600


def index(*platforms: tuple[str, str], media_type: str = OCI_INDEX) -> Index:
    manifests = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest(architecture.encode()),
            "size": 1,
            "platform": {"os": system, "architecture": architecture},
        }
        for system, architecture in platforms
    ]
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
    parsed = parse_manifest(json.dumps(body).encode(), media_type)
    assert isinstance(parsed, Index)
    return parsed


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_the_manifest_of_the_platform_is_chosen_from_an_index(media_type: str) -> None:
    known = index(
        ("linux", "arm64"), ("windows", "amd64"), ("linux", "amd64"), media_type=media_type
    )

    chosen = choose_platform(known, Platform("linux", "amd64"))

    assert str(chosen.digest) == digest(b"amd64")


def test_an_index_without_the_platform_says_which_it_has() -> None:
    known = index(("linux", "arm64"), ("unknown", "unknown"))

    with pytest.raises(ImageNotFound) as caught:
        choose_platform(known, Platform("linux", "amd64"))

    assert "linux/amd64" in str(caught.value)
    assert "linux/arm64" in str(caught.value)
    assert "unknown" not in str(caught.value)


def test_a_config_gives_what_a_container_needs() -> None:
    body = config_body(
        [digest(b"1")], Env=["A=b", "broken", "=x"], Cmd=["sh"], WorkingDir="/w", Entrypoint="run"
    )

    config = parse_config(body, 1)

    assert config.environment == ("A=b",)
    assert config.command == ("sh",)
    assert config.entrypoint == ("/bin/sh", "-c", "run")
    assert config.workdir == "/w"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (config_body([]), "lists 0 diff_ids"),
        (config_body(["sha256:x"]), "characters"),
        (b'{"rootfs":{"type":"other","diff_ids":[]}}', "type 'layers'"),
        (b"{}", "rootfs"),
        (config_body([digest(b"1")], Env="A=b\0"), "Env"),
        (config_body([digest(b"1")], Cmd=["a\0b"]), "Cmd"),
        (config_body([digest(b"1")], WorkingDir=3), "WorkingDir"),
    ],
)
def test_a_wrong_config_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(ManifestInvalid, match=reason):
        parse_config(body, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(deadline=None, database=None)
@given(st.dictionaries(st.sampled_from(["config", "layers", "manifests", "mediaType"]), JSON))
def test_any_json_is_a_manifest_or_refused(changes: dict[str, Any]) -> None:
    with contextlib.suppress(HpcboxError):
        parse_manifest(document(**changes), OCI_MANIFEST)

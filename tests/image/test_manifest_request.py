"""Manifests from registries that understand the Accept header in ways of their own."""

import json
from collections.abc import Iterator

import pytest

from hpcbox.errors import DigestMismatch, ImageNotFound, ManifestInvalid, RegistryUnreachable
from hpcbox.image import media_types
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Platform
from tests.image.sourcing import source
from tests.services.bad_registry import BadRegistry, Choose, Fault
from tests.services.small_images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    file,
    push_image,
    push_index,
    tar,
)

LAYER = tar(file("a", b"1"))
ALL = [OCI_MANIFEST, DOCKER_MANIFEST]
AMD64 = Platform("linux", "amd64")


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as running:
        yield running


def accepts(registry: BadRegistry) -> list[str]:
    return [headers["Accept"] for path, headers in registry.received if "/manifests/" in path]


def test_all_kinds_are_asked_for_at_once(registry: BadRegistry) -> None:
    push_image(registry, "a/b:1", LAYER)

    source(registry.address).resolve()

    assert accepts(registry) == [
        "application/vnd.oci.image.manifest.v1+json,"
        " application/vnd.docker.distribution.manifest.v2+json,"
        " application/vnd.oci.image.index.v1+json,"
        " application/vnd.docker.distribution.manifest.list.v2+json"
    ]


def first_only(_path: str, accept: str, found: tuple[bytes, str]) -> tuple[bytes, str] | None:
    return found if accept.split(",", maxsplit=1)[0].strip() == found[1] else None


def one_exactly(_path: str, accept: str, found: tuple[bytes, str]) -> tuple[bytes, str] | None:
    return found if accept == found[1] else None


def ignoring(_path: str, _accept: str, found: tuple[bytes, str]) -> tuple[bytes, str] | None:
    return found


def misnamed(_path: str, _accept: str, found: tuple[bytes, str]) -> tuple[bytes, str] | None:
    return found[0], "text/plain; charset=utf-8"


def converting(_path: str, accept: str, found: tuple[bytes, str]) -> tuple[bytes, str] | None:
    if accept == found[1]:
        return found
    return b'{"schemaVersion": 1}', media_types.DOCKER_SCHEMA_1[1]


ODD = [first_only, one_exactly, ignoring, misnamed, converting]


@pytest.mark.parametrize("media_type", ALL)
@pytest.mark.parametrize("choose", ODD, ids=[one.__name__ for one in ODD])
def test_an_odd_registry_s_image_is_found(
    registry: BadRegistry, choose: Choose, media_type: str
) -> None:
    pushed = push_image(registry, "a/b:1", LAYER, media_type=media_type)
    registry.choose = choose

    resolved = source(registry.address).resolve()

    assert str(Digest.of(resolved.body)) == pushed


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
@pytest.mark.parametrize("choose", ODD, ids=[one.__name__ for one in ODD])
def test_an_odd_registry_s_index_is_found(
    registry: BadRegistry, choose: Choose, media_type: str
) -> None:
    inner = DOCKER_MANIFEST if media_type == DOCKER_LIST else OCI_MANIFEST
    pushed = push_image(registry, "a/b:amd64", LAYER, media_type=inner)
    push_index(registry, "a/b:1", {"amd64": (pushed, 1)}, media_type)
    registry.choose = choose

    resolved = source(registry.address, platform=AMD64).resolve()

    assert str(Digest.of(resolved.body)) == pushed


def test_a_manifest_without_any_name_is_known_by_its_form(registry: BadRegistry) -> None:
    push_image(registry, "a/b:1", LAYER)
    body = json.loads(registry._contents["/v2/a/b/manifests/1"][0])
    del body["mediaType"]
    registry.push_manifest("a/b", "1", json.dumps(body).encode(), OCI_MANIFEST)
    registry.choose = misnamed

    resolved = source(registry.address).resolve()

    assert json.loads(resolved.body) == body


def test_an_image_that_exists_as_schema_1_only_says_so(registry: BadRegistry) -> None:
    registry.push_manifest("a/b", "1", b'{"schemaVersion": 1}', media_types.DOCKER_SCHEMA_1[0])

    with pytest.raises(ManifestInvalid, match="schema 1"):
        source(registry.address).resolve()


def test_the_registry_s_word_on_the_digest_is_not_believed(registry: BadRegistry) -> None:
    pushed = push_image(registry, "a/b:1", LAYER)
    other = push_image(registry, "a/b:2", tar(file("b")))
    stored = registry._contents[f"/v2/a/b/manifests/{other}"]
    registry._contents[f"/v2/a/b/manifests/{pushed}"] = stored
    registry.spoil("manifests", Fault(headers={"Docker-Content-Digest": pushed}))

    with pytest.raises(DigestMismatch, match=pushed):
        source(registry.address, digest=pushed).resolve()


def nested(registry: BadRegistry, inner: str, depth: int) -> str:
    """Push indexes around an index; return the outermost one's digest."""
    size = 1
    for level in range(depth):
        entry = {"mediaType": OCI_INDEX, "digest": inner, "size": size}
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
        tag = "1" if level == depth - 1 else f"level-{level}"
        inner, size = registry.push_manifest("a/b", tag, body.encode(), OCI_INDEX), len(body)
    return inner


def test_an_index_inside_an_index_is_looked_through(registry: BadRegistry) -> None:
    pushed = push_image(registry, "a/b:amd64", LAYER)
    nested(registry, push_index(registry, "a/b:inner", {"amd64": (pushed, 1)}), 2)

    resolved = source(registry.address, platform=AMD64).resolve()

    assert str(Digest.of(resolved.body)) == pushed


def test_indexes_nested_too_deep_are_refused(registry: BadRegistry) -> None:
    pushed = push_image(registry, "a/b:amd64", LAYER)
    nested(registry, push_index(registry, "a/b:inner", {"amd64": (pushed, 1)}), 3)

    with pytest.raises(ManifestInvalid, match="deeper than 3"):
        source(registry.address, platform=AMD64).resolve()


def test_an_index_with_very_many_indexes_is_given_up(registry: BadRegistry) -> None:
    entries = []
    for number in range(20):
        inner = push_index(registry, f"a/b:{number}x", {f"arm{number}": ("sha256:" + 64 * "0", 1)})
        entries.append({"mediaType": OCI_INDEX, "digest": inner, "size": 1})
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    registry.push_manifest("a/b", "1", json.dumps(body).encode(), OCI_INDEX)

    with pytest.raises(ManifestInvalid, match="more than 8 indexes"):
        source(registry.address, platform=AMD64).resolve()

    assert len(registry.paths()) == 9


def test_an_index_that_leads_back_to_itself_ends(registry: BadRegistry) -> None:
    """Only a registry that lies can have one: its bytes lack the digest they are asked by."""
    entry = {"mediaType": OCI_INDEX, "digest": "sha256:" + 64 * "1", "size": 1}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    for target in ("1", entry["digest"]):
        registry._contents[f"/v2/a/b/manifests/{target}"] = (body, OCI_INDEX)

    with pytest.raises(DigestMismatch):
        source(registry.address, platform=AMD64).resolve()


def test_an_index_where_a_manifest_was_promised_is_refused(registry: BadRegistry) -> None:
    inner = push_index(registry, "a/b:inner", {})
    push_index(registry, "a/b:1", {"amd64": (inner, 1)})

    with pytest.raises(ManifestInvalid, match="promised a manifest"):
        source(registry.address, platform=AMD64).resolve()


@pytest.mark.parametrize(
    ("offered", "machine", "chosen"),
    [
        (["v6", "v7"], Platform("linux", "arm", "v7"), "v7"),
        (["v5", "v6"], Platform("linux", "arm", "v7"), "v6"),
        (["v7", "v6"], Platform("linux", "arm", "v6"), "v6"),
        (["v7", ""], Platform("linux", "arm", "v6"), ""),
        (["", "v8"], Platform("linux", "arm64"), "v8"),
        (["v9", ""], Platform("linux", "arm64"), ""),
        (["v3", "v1"], AMD64, "v1"),
        (["v3"], AMD64, None),
    ],
)
def test_the_best_variant_that_the_machine_runs_is_chosen(
    registry: BadRegistry, offered: list[str], machine: Platform, chosen: str | None
) -> None:
    entries, digests = [], {}
    for variant in offered:
        digests[variant] = push_image(registry, f"a/b:v{variant}", tar(file(f"is-{variant}")))
        platform = {"os": "linux", "architecture": machine.architecture, "variant": variant}
        entry = {"mediaType": OCI_MANIFEST, "digest": digests[variant], "size": 1}
        entries.append({**entry, "platform": platform})
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    registry.push_manifest("a/b", "1", json.dumps(body).encode(), OCI_INDEX)
    asked = source(registry.address, platform=machine)

    if chosen is None:
        with pytest.raises(ImageNotFound, match="linux/amd64/v3"):
            asked.resolve()
    else:
        assert str(Digest.of(asked.resolve().body)) == digests[chosen]


def test_a_manifest_that_is_cut_is_asked_for_again(registry: BadRegistry) -> None:
    pushed = push_image(registry, "a/b:1", LAYER)
    registry.spoil("manifests", Fault(cut_after=20, times=2))

    resolved = source(registry.address).resolve()

    assert str(Digest.of(resolved.body)) == pushed


def test_a_manifest_that_trickles_for_ever_is_given_up(registry: BadRegistry) -> None:
    push_image(registry, "a/b:1", LAYER)
    registry.spoil("manifests", Fault(trickle=10))

    with pytest.raises(RegistryUnreachable, match=r"took longer than 1\.2 seconds"):
        source(registry.address, stall_seconds=0.3, retry_seconds=0.1).resolve()

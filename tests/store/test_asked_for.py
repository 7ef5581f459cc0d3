"""What a pull asks a registry for, how often, and what it asks for again."""

import contextlib
import json
from pathlib import Path

import pytest

from hpcbox.errors import DigestMismatch, ImageNotFound
from hpcbox.image.manifest import host_platform
from hpcbox.image.progress import Progress  # noqa: TC001 - one style of imports
from hpcbox.store.pull import Limits
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.registry import Registry
from tests.services.small_images import (
    compressed,
    config_body,
    digest,
    file,
    folder,
    push_image,
    push_index,
    tar,
)
from tests.store.pulling import pull_here, scratch

BOTTOM = tar(folder("etc"), file("etc/a", b"1"), file("etc/b", b"2"))


def test_a_blob_that_was_altered_once_is_fetched_anew(
    bad_registry: BadRegistry, store: Path
) -> None:
    push_image(bad_registry, "altered/once:1", BOTTOM, how="none")
    bad_registry.spoil(
        rf"/blobs/{digest(BOTTOM)}", Fault(alter=lambda body: bytes(len(body)), times=1)
    )
    seen: list[Progress] = []
    limits = Limits(len(BOTTOM) + 100, 1000, 1)

    record = pull_here(f"{bad_registry.address}/altered/once:1", store, limits=limits, seen=seen)

    assert record.layers
    assert len([path for path in bad_registry.paths() if digest(BOTTOM) in path]) == 2
    assert seen[-1].bytes_done == seen[-1].bytes_total
    assert scratch(store) == []


def test_a_blob_that_is_always_altered_is_asked_for_twice(
    bad_registry: BadRegistry, store: Path
) -> None:
    push_image(bad_registry, "altered/always:1", BOTTOM)
    blob = digest(compressed(BOTTOM, "gzip"))
    bad_registry.spoil(rf"/blobs/{blob}", Fault(alter=lambda body: body[:-1] + b"x"))

    with pytest.raises(DigestMismatch, match=blob):
        pull_here(f"{bad_registry.address}/altered/always:1", store)

    assert len([path for path in bad_registry.paths() if blob in path]) == 2


def test_a_config_that_was_altered_once_is_fetched_anew(
    bad_registry: BadRegistry, store: Path
) -> None:
    push_image(bad_registry, "altered/config:1", BOTTOM)
    config = digest(config_body([digest(BOTTOM)]))
    bad_registry.spoil(rf"/blobs/{config}", Fault(alter=lambda body: body[1:], times=1))

    assert pull_here(f"{bad_registry.address}/altered/config:1", store).layers


def test_a_wrong_diff_id_is_not_asked_for_twice(bad_registry: BadRegistry, store: Path) -> None:
    push_image(bad_registry, "wrong/diff:1", BOTTOM, diff_ids=[digest(b"another layer")])

    with pytest.raises(DigestMismatch, match="layer sha256:"):
        pull_here(f"{bad_registry.address}/wrong/diff:1", store)

    blobs = [path for path in bad_registry.paths() if "/blobs/" in path]
    assert len(blobs) == len(set(blobs)) == 2


def test_a_pull_asks_once_for_each_thing_and_a_repeated_one_for_the_manifest_only(
    registry: Registry, store: Path
) -> None:
    top = tar(file("traffic", b"top"))
    push_image(registry, "traffic/image:1", BOTTOM, top)
    pushed = push_image(registry, "traffic/index:amd64", BOTTOM, top)
    push_index(registry, "traffic/index:1", {host_platform().architecture: (pushed, 1)})

    def traffic(image: str) -> list[str]:
        before = len(registry.requests())
        pull_here(f"{registry.address}/{image}", store)
        # The registry writes its log a moment after its answer: a last request pushes it out.
        with contextlib.suppress(RuntimeError):
            registry._request("GET", "/v2/traffic/manifests/none")
        return [line.split("/")[-2] for line in registry.requests()[before:] if "/none" not in line]

    assert sorted(traffic("traffic/image:1")) == ["blobs"] * 3 + ["manifests"]
    assert traffic("traffic/image:1") == ["manifests"]
    assert traffic("traffic/index:1") == ["manifests"] * 2


def test_addresses_in_a_manifest_are_never_followed(bad_registry: BadRegistry, store: Path) -> None:
    """Foreign layers name where else they lie (image-spec, descriptor.md: urls)."""
    with BadRegistry() as elsewhere:
        pushed = push_image(bad_registry, "foreign/image:1", BOTTOM)
        blob = digest(compressed(BOTTOM, "gzip"))
        body, media_type = bad_registry._contents[f"/v2/foreign/image/manifests/{pushed}"]
        manifest = json.loads(body)
        manifest["layers"][0]["urls"] = [f"http://{elsewhere.address}/layer"]
        bad_registry.push_manifest("foreign/image", "1", json.dumps(manifest).encode(), media_type)
        del bad_registry._contents[f"/v2/foreign/image/blobs/{blob}"]

        with pytest.raises(ImageNotFound, match="has no blob"):
            pull_here(f"{bad_registry.address}/foreign/image:1", store)

        assert elsewhere.received == []

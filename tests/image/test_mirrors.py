"""Mirrors: asked first, believed only by digest, and never given what is the registry's."""

import os
from collections.abc import Iterator

import pytest

from hpcbox.errors import DigestMismatch, RegistryUnreachable
from hpcbox.image.credentials import Credentials
from hpcbox.image.digest import Digest
from hpcbox.image.reference import Reference
from hpcbox.image.registry import RegistrySource
from hpcbox.image.verified import VerifiedStream
from hpcbox.registries import Registry
from hpcbox.settings import Settings
from tests.image.sourcing import descriptor, whole
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.small_images import file, push_image, tar

LAYER = tar(file("a", b"1"))
BODY = os.urandom(600_000)


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry(knows_ranges=True) as running:
        yield running


@pytest.fixture
def mirror() -> Iterator[BadRegistry]:
    with BadRegistry(knows_ranges=True) as running:
        yield running


def source(registry: BadRegistry, *mirrors: str, digest: str | None = None) -> RegistrySource:
    names = {
        registry.address: Credentials("alice", "s3cret"),
        **{name.partition("/")[0]: Credentials("mirrored", "m1rror") for name in mirrors},
    }
    settings = Settings(
        store="/x", registries={registry.address: Registry(plain_http=True, mirrors=mirrors)}
    )
    reference = Reference(registry.address, "a/b", "1", Digest.parse(digest) if digest else None)
    return RegistrySource(
        reference,
        settings,
        find_credentials=lambda name, _repository: names[name],
        sleep=lambda _seconds: None,
    )


def test_a_mirror_is_asked_first(registry: BadRegistry, mirror: BadRegistry) -> None:
    pushed = push_image(mirror, "a/b:1", LAYER)
    mirror.push_blob("a/b", BODY)
    asked = source(registry, mirror.address)

    resolved = asked.resolve()

    assert str(Digest.of(resolved.body)) == pushed
    assert resolved.registry == registry.address
    assert whole(asked.open_blob(descriptor(BODY))) == BODY
    assert registry.received == []


def test_a_mirror_may_keep_registries_below_a_prefix(
    registry: BadRegistry, mirror: BadRegistry
) -> None:
    push_image(mirror, "cache/site/a/b:1", LAYER)

    assert source(registry, f"{mirror.address}/cache/site").resolve()
    assert registry.received == []


@pytest.mark.parametrize("status", [404, 401, 403, 429, 500])
def test_what_a_mirror_does_not_give_the_registry_is_asked_for(
    registry: BadRegistry, mirror: BadRegistry, status: int
) -> None:
    pushed = push_image(registry, "a/b:1", LAYER)
    mirror.spoil("/", Fault(status=status, headers={"Retry-After": "60"}))

    resolved = source(registry, mirror.address).resolve()

    assert str(Digest.of(resolved.body)) == pushed


def test_mirrors_are_asked_in_their_order_and_one_that_is_gone_only_once(
    registry: BadRegistry, mirror: BadRegistry
) -> None:
    pushed = push_image(mirror, "a/b:1", LAYER)
    mirror.push_blob("a/b", BODY)
    asked = source(registry, "127.0.0.1:1", mirror.address)

    assert str(Digest.of(asked.resolve().body)) == pushed
    assert whole(asked.open_blob(descriptor(BODY))) == BODY
    assert len(asked._unreachable) == 1


def test_each_gets_its_own_credentials_only(registry: BadRegistry, mirror: BadRegistry) -> None:
    push_image(registry, "a/b:1", LAYER)
    challenge = {"WWW-Authenticate": "Basic realm=x"}
    for server in (registry, mirror):
        server.spoil("manifests", Fault(status=401, headers=challenge, times=1))

    source(registry, mirror.address).resolve()

    def sent(server: BadRegistry) -> set[str | None]:
        return {headers.get("Authorization") for _, headers in server.received}

    assert sent(mirror) == {None, Credentials("mirrored", "m1rror").basic}
    assert sent(registry) == {None, Credentials("alice", "s3cret").basic}


def test_a_mirror_s_manifest_counts_by_its_digest(
    registry: BadRegistry, mirror: BadRegistry
) -> None:
    pushed = push_image(registry, "a/b:1", LAYER)
    push_image(mirror, "a/b:1", LAYER)
    mirror.spoil("manifests", Fault(alter=lambda body: body + b" "))

    resolved = source(registry, mirror.address, digest=pushed).resolve()

    assert str(Digest.of(resolved.body)) == pushed


def test_a_blob_that_a_mirror_cuts_goes_on_at_the_registry(
    registry: BadRegistry, mirror: BadRegistry
) -> None:
    for server in (registry, mirror):
        server.push_blob("a/b", BODY)
    mirror.spoil("blobs", Fault(cut_after=2**18))

    assert whole(source(registry, mirror.address).open_blob(descriptor(BODY))) == BODY
    assert registry.received[0][1]["Range"] == f"bytes={2**18}-{len(BODY) - 1}"
    assert len(mirror.received) == 1


def test_a_blob_that_a_mirror_has_altered_is_fetched_from_the_registry(
    registry: BadRegistry, mirror: BadRegistry
) -> None:
    for server in (registry, mirror):
        server.push_blob("a/b", BODY)
    mirror.spoil("blobs", Fault(alter=lambda body: bytes(len(body))))
    asked = source(registry, mirror.address)
    wanted = descriptor(BODY)

    def fetched() -> bytes:
        stream = asked.open_blob(wanted)
        return whole(VerifiedStream(stream, wanted.digest, wanted.size_bytes, "blob"))

    with pytest.raises(DigestMismatch):
        fetched()
    assert fetched() == BODY


def test_the_registry_s_failure_is_the_one_that_is_told(mirror: BadRegistry) -> None:
    with BadRegistry() as registry:
        registry.spoil("/", Fault(status=503))

        with pytest.raises(RegistryUnreachable, match=registry.address):
            source(registry, mirror.address).resolve()

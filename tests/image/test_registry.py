"""The registry client against registries that refuse, vanish, stall and redirect."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcbox.errors import (
    DigestMismatch,
    ImageNotFound,
    ManifestInvalid,
    RegistryRefused,
    RegistryUnreachable,
)
from hpcbox.image.credentials import Credentials
from hpcbox.image.digest import Digest
from hpcbox.image.reference import Reference
from hpcbox.image.registry import RegistrySource
from hpcbox.image.source import read_exactly
from hpcbox.settings import Settings
from tests.image.sourcing import SECRET, descriptor, source
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.registry import Registry
from tests.services.small_images import OCI_MANIFEST, digest, file, push_image, tar

LAYER = tar(file("a", b"1"))


@pytest.fixture
def bad_registry() -> Iterator[BadRegistry]:
    with BadRegistry() as running:
        yield running


def test_a_missing_image_is_not_found(bad_registry: BadRegistry) -> None:
    with pytest.raises(ImageNotFound, match="a/b:1") as caught:
        source(bad_registry.address).resolve()

    assert caught.value.exit_code == 66


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (403, RegistryRefused, "refused access"),
        (429, RegistryUnreachable, "limits"),
        (418, RegistryUnreachable, "418"),
        (500, RegistryUnreachable, "error 500"),
        (503, RegistryUnreachable, "error 503"),
    ],
)
def test_a_refusal_is_told_in_a_user_s_words(
    bad_registry: BadRegistry, status: int, error: type[Exception], text: str
) -> None:
    bad_registry.spoil("manifests", Fault(status=status))

    with pytest.raises(error, match=text):
        source(bad_registry.address).resolve()


def test_a_server_error_that_passes_is_not_noticed(bad_registry: BadRegistry) -> None:
    pushed = push_image(bad_registry, "a/b:1", LAYER)
    bad_registry.spoil("manifests", Fault(status=502, times=2))

    resolved = source(bad_registry.address).resolve()

    assert str(Digest.of(resolved.body)) == pushed


def test_a_registry_that_nobody_serves_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"

        with pytest.raises(RegistryUnreachable, match="Connection refused") as caught:
            source(address).resolve()

    assert caught.value.exit_code == 69


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    with pytest.raises(RegistryUnreachable, match=r"registry\.invalid"):
        source("registry.invalid").resolve()


def test_a_registry_that_accepts_and_says_nothing_is_given_up(bad_registry: BadRegistry) -> None:
    bad_registry.spoil("manifests", Fault(stall_after=0))
    push_image(bad_registry, "a/b:1", LAYER)
    began = time.monotonic()

    with pytest.raises(RegistryUnreachable, match=r"sent nothing for 0\.3 seconds"):
        source(bad_registry.address, stall_seconds=0.3).resolve()

    assert time.monotonic() - began < 5


def test_a_blob_that_stalls_is_given_up(bad_registry: BadRegistry) -> None:
    body = b"x" * 100_000
    bad_registry.push_blob("a/b", body)
    bad_registry.spoil("blobs", Fault(stall_after=50_000))
    stream = source(bad_registry.address, stall_seconds=0.3, retry_seconds=0.5).open_blob(
        descriptor(body)
    )

    with pytest.raises(RegistryUnreachable, match="sent nothing"):
        read_exactly(stream, len(body))


def test_a_blob_that_is_cut_is_an_error_of_the_registry(bad_registry: BadRegistry) -> None:
    body = b"x" * 100_000
    bad_registry.push_blob("a/b", body)
    bad_registry.spoil("blobs", Fault(cut_after=50_000))
    stream = source(bad_registry.address, retry_seconds=1).open_blob(descriptor(body))

    with pytest.raises(RegistryUnreachable, match=r"cut a transfer after 50\.0 KB of 100 KB"):
        read_exactly(stream, len(body))


def test_https_is_spoken_where_no_setting_allows_plain_http(bad_registry: BadRegistry) -> None:
    # A name that leads here and that the rule for loopback registries doesn't know.
    name = bad_registry.address.replace("127.0.0.1", "127.1")
    push_image(bad_registry, "a/b:1", LAYER)

    with pytest.raises(RegistryUnreachable, match="plain_http = true"):
        source(name).resolve()

    assert bad_registry.paths() == []


def test_a_manifest_with_other_bytes_than_its_digest_is_refused(bad_registry: BadRegistry) -> None:
    pushed = push_image(bad_registry, "a/b:1", LAYER)
    bad_registry.spoil("manifests", Fault(alter=lambda body: body + b" "))
    reference = Reference(bad_registry.address, "a/b", None, Digest.parse(pushed))

    with pytest.raises(DigestMismatch):
        RegistrySource(reference, Settings(store="/x")).resolve()


def test_a_manifest_without_end_is_refused(bad_registry: BadRegistry) -> None:
    bad_registry.push_manifest("a/b", "1", b" " * 5_000_000, OCI_MANIFEST)

    with pytest.raises(ManifestInvalid, match="more than"):
        source(bad_registry.address).resolve()


def test_a_redirect_to_another_host_carries_no_credentials(bad_registry: BadRegistry) -> None:
    body = b"blob"
    with BadRegistry() as storage:
        storage.push_blob("a/b", body)
        there = f"http://{storage.address}/v2/a/b/blobs/{digest(body)}"
        bad_registry.spoil(
            "blobs", Fault(status=401, headers={"WWW-Authenticate": "Basic realm=x"}, times=1)
        )
        bad_registry.spoil("blobs", Fault(status=307, headers={"Location": there}))

        stream = source(bad_registry.address, credentials=SECRET).open_blob(descriptor(body))

        assert read_exactly(stream, 100) == body
        assert "Authorization" in bad_registry.received[-1][1]
        assert "Authorization" not in storage.received[-1][1]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/"])
def test_a_redirect_that_leaves_http_is_refused(bad_registry: BadRegistry, target: str) -> None:
    bad_registry.spoil("manifests", Fault(status=302, headers={"Location": target}))

    with pytest.raises(RegistryUnreachable, match="not http"):
        source(bad_registry.address).resolve()


def test_redirects_in_a_circle_end(bad_registry: BadRegistry) -> None:
    bad_registry.spoil("manifests", Fault(status=302, headers={"Location": "/v2/a/b/manifests/1"}))

    with pytest.raises(RegistryUnreachable, match="circle"):
        source(bad_registry.address).resolve()


def test_a_token_is_fetched_with_the_credentials_and_used(bad_registry: BadRegistry) -> None:
    pushed = push_image(bad_registry, "a/b:1", LAYER)
    realm = f"http://{bad_registry.address}/token"
    challenge = f'Bearer realm="{realm}",service="reg",scope="repository:a/b:pull"'
    bad_registry.spoil(
        "manifests", Fault(status=401, headers={"WWW-Authenticate": challenge}, times=1)
    )
    path = "/token?service=reg&scope=repository%3Aa%2Fb%3Apull"
    bad_registry._contents[path] = (json.dumps({"token": "t0ken"}).encode(), "application/json")

    resolved = source(bad_registry.address, credentials=SECRET).resolve()

    assert str(Digest.of(resolved.body)) == pushed
    sent = [headers.get("Authorization", "") for _, headers in bad_registry.received]
    assert sent == ["", SECRET.basic, "Bearer t0ken"]


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"no json", b'{"token":"a\\nb: c"}'])
def test_a_token_service_that_gives_none_is_told(bad_registry: BadRegistry, answer: bytes) -> None:
    realm = f"http://{bad_registry.address}/token"
    challenge = f'Bearer realm="{realm}"'
    bad_registry.spoil("manifests", Fault(status=401, headers={"WWW-Authenticate": challenge}))
    path = "/token?scope=repository%3Aa%2Fb%3Apull"
    bad_registry._contents[path] = (answer, "application/json")

    with pytest.raises(RegistryRefused, match="no token"):
        source(bad_registry.address).resolve()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("locked"), credentials=("alice", "s3cret")) as running:
        push_image(running, "a/b:1", LAYER)
        yield running


def test_a_registry_with_a_password_refuses_without_it(locked: Registry) -> None:
    with pytest.raises(RegistryRefused, match="hpcbox login") as caught:
        source(locked.address).resolve()

    assert caught.value.exit_code == 77


def test_a_wrong_password_is_told_from_none(locked: Registry) -> None:
    with pytest.raises(RegistryRefused, match="refused the credentials"):
        source(locked.address, credentials=Credentials("alice", "wrong")).resolve()


def test_the_credentials_of_docker_login_are_used(
    locked: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"auths": {locked.address: {"auth": "YWxpY2U6czNjcmV0"}}}
    (tmp_path / "config.json").write_text(json.dumps(auth))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    resolved = RegistrySource(Reference(locked.address, "a/b", "1"), Settings(store="/x")).resolve()

    assert resolved.repository == "a/b"


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_pieces_of_a_blob_are_read_with_ranges_and_without(
    locked: Registry, bad_registry: BadRegistry, *, knows_ranges: bool
) -> None:
    body = gzip.compress(bytes(range(256)) * 100)
    address = locked.address if knows_ranges else bad_registry.address
    (locked if knows_ranges else bad_registry).push_blob("a/b", body)

    pieces = source(address, credentials=SECRET).read_windows(
        descriptor(body), [(0, 10), (20, 32), (len(body) - 5, 32)]
    )

    assert pieces == [body[:10], body[20:52], body[-5:]]


def test_several_threads_share_one_source(locked: Registry) -> None:
    body = b"y" * 1000
    locked.push_blob("a/b", body)
    shared = source(locked.address, credentials=SECRET)
    found: list[bytes] = []

    def fetch() -> None:
        found.append(read_exactly(shared.open_blob(descriptor(body)), 2000))

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [body] * 8

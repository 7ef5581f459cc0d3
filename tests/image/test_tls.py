"""Registries that speak TLS, with certificates of an authority that nobody knows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcbox.errors import RegistryRefused, RegistryUnreachable, SettingsError
from hpcbox.image.digest import Digest
from hpcbox.registries import Registry as Rules
from hpcbox.registries import parse_proxy
from tests.image.sourcing import SECRET, descriptor, source, whole
from tests.services.authority import Authority
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.proxy import HttpProxy
from tests.services.registry import Registry
from tests.services.small_images import file, push_image, tar

LAYER = tar(file("a", b"1"))
BODY = bytes(range(256)) * 2000
TLS = Rules()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Registry]:
    """A real registry with a certificate for its address."""
    pair = authority.certificate("registry", "127.0.0.1")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    folder = tmp_path_factory.mktemp("secured")
    with Registry(folder, tls=tls, authority=str(authority.file)) as running:
        push_image(running, "a/b:1", LAYER)
        yield running


@pytest.fixture
def bad(authority: Authority) -> Iterator[BadRegistry]:
    tls = authority.certificate("bad", "127.0.0.1").serving()
    with BadRegistry(knows_ranges=True, tls=tls) as running:
        running.push_blob("a/b", BODY)
        yield running


def test_a_named_authority_is_trusted(secured: Registry, authority: Authority) -> None:
    rules = Rules(ca_file=str(authority.file))

    assert source(secured.address, rules=rules).resolve().repository == "a/b"


def test_an_unknown_authority_is_not_trusted(secured: Registry) -> None:
    with pytest.raises(RegistryUnreachable) as caught:
        source(secured.address, rules=TLS).resolve()

    said = str(caught.value)
    assert "its certificate is not trusted (unable to get local issuer certificate)" in said
    assert f'ca_file under [registries."{secured.address}"]' in said


def test_a_certificate_for_another_name_is_not_trusted(
    secured: Registry, authority: Authority
) -> None:
    name = secured.address.replace("127.0.0.1", "localhost")

    with pytest.raises(RegistryUnreachable, match="Hostname mismatch"):
        source(name, rules=Rules(ca_file=str(authority.file))).resolve()


def test_a_certificate_that_has_expired_is_not_trusted(authority: Authority) -> None:
    pair = authority.certificate("expired", "127.0.0.1", days=-1)
    with (
        BadRegistry(tls=pair.serving()) as registry,
        pytest.raises(RegistryUnreachable, match="certificate has expired"),
    ):
        source(registry.address, rules=Rules(ca_file=str(authority.file))).resolve()


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_authority_that_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=str(path)):
        source("registry.site", rules=Rules(ca_file=str(path))).resolve()


def test_a_client_certificate_is_shown_to_its_registry_only(authority: Authority) -> None:
    client = authority.certificate("alice")
    server = authority.certificate("server", "127.0.0.1")
    rules = Rules(
        ca_file=str(authority.file),
        client_certificate=str(client.certificate),
        client_key=str(client.key),
    )
    wanting = server.serving(clients=authority.file)
    with (
        BadRegistry(tls=wanting) as registry,
        BadRegistry(tls=server.serving(clients=authority.file)) as other,
    ):
        pushed = push_image(registry, "a/b:1", LAYER)
        other.serve("/x", BODY)
        there = f"https://{other.address}/x"
        registry.spoil("blobs", Fault(status=307, headers={"Location": there}))

        assert str(Digest.of(source(registry.address, rules=rules).resolve().body)) == pushed
        with pytest.raises(RegistryUnreachable):
            source(registry.address, rules=rules, retry_seconds=0.1).open_blob(descriptor(BODY))
        assert other.received == []
        unknown = Rules(ca_file=str(authority.file))
        with pytest.raises(RegistryUnreachable):
            source(registry.address, rules=unknown, retry_seconds=0.1).resolve()


def test_a_redirect_from_tls_to_plain_http_is_refused(
    bad: BadRegistry, authority: Authority
) -> None:
    with BadRegistry() as plain:
        plain.serve("/x", BODY)
        there = f"http://{plain.address}/x"
        bad.spoil("blobs", Fault(status=307, headers={"Location": there}))

        with pytest.raises(RegistryUnreachable, match="from https to plain http: refused"):
            source(bad.address, rules=Rules(ca_file=str(authority.file))).open_blob(
                descriptor(BODY)
            )

        assert plain.received == []


def test_credentials_stay_with_their_registry_over_tls_too(
    bad: BadRegistry, authority: Authority
) -> None:
    tls = authority.certificate("storage", "127.0.0.1").serving()
    with BadRegistry(tls=tls) as storage:
        storage.serve("/x", BODY)
        challenge = {"WWW-Authenticate": "Basic realm=x"}
        bad.spoil("blobs", Fault(status=401, headers=challenge, times=1))
        there = f"https://{storage.address}/x"
        bad.spoil("blobs", Fault(status=307, headers={"Location": there}))
        rules = Rules(ca_file=str(authority.file))

        stream = source(bad.address, rules=rules, credentials=SECRET).open_blob(descriptor(BODY))

        assert whole(stream) == BODY
        assert bad.received[-1][1]["Authorization"] == SECRET.basic
        assert "Authorization" not in storage.received[-1][1]


def test_a_token_service_must_speak_tls_where_its_registry_does(
    bad: BadRegistry, authority: Authority
) -> None:
    with BadRegistry() as plain:
        realm = f"http://{plain.address}/token"
        bad.spoil(
            "blobs", Fault(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
        )
        rules = Rules(ca_file=str(authority.file))

        with pytest.raises(RegistryRefused, match="no https address"):
            source(bad.address, rules=rules, credentials=SECRET).open_blob(descriptor(BODY))

        assert plain.received == []


def test_a_blob_that_is_cut_goes_on_over_tls(bad: BadRegistry, authority: Authority) -> None:
    bad.spoil("blobs", Fault(cut_after=100_000, times=1))
    rules = Rules(ca_file=str(authority.file))

    assert whole(source(bad.address, rules=rules).open_blob(descriptor(BODY))) == BODY


def test_a_proxy_carries_tls_without_seeing_it(secured: Registry, authority: Authority) -> None:
    with HttpProxy(("proxy-user", "pr0xy")) as proxy:
        text = f"http://proxy-user:pr0xy@{proxy.address}"
        rules = Rules(ca_file=str(authority.file), proxy=parse_proxy(text))

        assert source(secured.address, rules=rules).resolve()
        assert proxy.used == [f"CONNECT {secured.address}"]

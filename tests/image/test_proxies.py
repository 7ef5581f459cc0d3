"""Proxies: of the settings, of the environment, with and without a password."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcbox.errors import HpcboxError, RegistryUnreachable, SettingsError
from hpcbox.image import proxies
from hpcbox.image.reference import Reference
from hpcbox.image.registry import RegistrySource
from hpcbox.registries import DIRECT, Registry, parse_proxy
from hpcbox.settings import Settings
from tests.image.sourcing import source
from tests.services.bad_registry import BadRegistry
from tests.services.proxy import HttpProxy
from tests.services.small_images import file, push_image, tar

PROXY = "http://proxy.site:3128"


def chosen(url: str, rules: Registry | None = None, /, **environ: str) -> str | None:
    proxy = proxies.choose(url, rules or Registry(), environ)
    return proxy.address if proxy else None


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        ("https://r.site/v2/", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://r.site/v2/", {"https_proxy": PROXY, "HTTPS_PROXY": "http://no:1"}, PROXY),
        ("https://r.site/v2/", {"HTTP_PROXY": PROXY}, None),
        ("http://r.site/v2/", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://r.site/v2/", {"ALL_PROXY": PROXY}, PROXY),
        ("https://r.site/v2/", {"HTTPS_PROXY": "proxy.site:3128"}, PROXY),
        ("https://127.0.0.1:5000/v2/", {"HTTPS_PROXY": PROXY}, None),
        ("http://localhost/v2/", {"HTTP_PROXY": PROXY}, None),
        ("https://r.site/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ("https://r.site/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "a, .site"}, None),
        ("https://r.site/v2/", {"HTTPS_PROXY": PROXY, "no_proxy": "site"}, None),
        ("https://r.site/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*.site"}, None),
        ("https://r.site/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "r.site:5000"}, PROXY),
        ("https://r.site:5000/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "r.site:5000"}, None),
        ("https://mysite/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "site"}, PROXY),
        ("https://10.1.2.3:5000/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, PROXY),
        ("https://[fd00::1]:5000/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8"}, None),
        ("https://r.site/", {"HTTPS_PROXY": PROXY, "NO_PROXY": ",,"}, PROXY),
        ("https://r.site/", {}, None),
    ],
)
def test_the_environment_names_a_proxy_and_exceptions(
    url: str, environ: dict[str, str], expected: str | None
) -> None:
    assert chosen(url, None, **environ) == expected


def test_the_setting_counts_more_than_the_environment() -> None:
    other = Registry(proxy=parse_proxy("https://other.site"))
    direct = Registry(proxy=parse_proxy(DIRECT))

    assert chosen("https://r.site", other, HTTPS_PROXY=PROXY) == "https://other.site:443"
    assert chosen("https://r.site", direct, HTTPS_PROXY=PROXY) is None


@pytest.mark.parametrize(
    "text", ["ftp://x", "http://", "http://a:s3cret@h/path", "http://h:99999", "http://[", "", " "]
)
def test_what_is_no_proxy_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="is wanted") as caught:
        parse_proxy(text)

    assert "s3cret" not in str(caught.value)


def test_a_variable_that_is_no_proxy_is_named() -> None:
    with pytest.raises(SettingsError, match="HTTPS_PROXY"):
        chosen("https://r.site", HTTPS_PROXY="ftp://s3cret")


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as running:
        push_image(running, "a/b:1", tar(file("a", b"1")))
        yield running


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with HttpProxy(("proxy-user", "pr:0xy")) as running:
        yield running


def rules(proxy: HttpProxy, pair: str = "") -> Registry:
    return Registry(plain_http=True, proxy=parse_proxy(f"http://{pair}{proxy.address}"))


def test_a_request_goes_through_the_proxy_with_its_password(
    registry: BadRegistry, proxy: HttpProxy
) -> None:
    named = rules(proxy, "proxy-user:pr%3A0xy@")

    assert source(registry.address, rules=named).resolve()
    assert proxy.used == [f"GET http://{registry.address}/v2/a/b/manifests/1"]
    assert "Proxy-Authorization" not in registry.received[0][1]


def test_a_proxy_s_password_may_stand_in_the_netrc(
    registry: BadRegistry, proxy: HttpProxy, tmp_path: Path
) -> None:
    path = tmp_path / "netrc"
    path.write_text(f"machine {proxy.address} login proxy-user password pr:0xy")
    path.chmod(0o600)
    settings = Settings(store="/x", netrc=str(path), registries={registry.address: rules(proxy)})

    assert RegistrySource(Reference(registry.address, "a/b", "1"), settings).resolve()
    assert len(proxy.used) == 1


@pytest.mark.parametrize("pair", ["", "proxy-user:wr0ng@"])
def test_a_proxy_that_refuses_is_named(registry: BadRegistry, proxy: HttpProxy, pair: str) -> None:
    with pytest.raises(HpcboxError) as caught:
        source(registry.address, rules=rules(proxy, pair)).resolve()

    assert "proxy" in str(caught.value)
    assert "407" in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    assert registry.received == []


def test_a_proxy_that_refuses_to_connect_is_named(proxy: HttpProxy) -> None:
    over_tls = Registry(proxy=parse_proxy(f"http://{proxy.address}"))

    with pytest.raises(RegistryUnreachable) as caught:
        source("registry.site", rules=over_tls).resolve()

    assert "its proxy fails" in str(caught.value)
    assert "407" in str(caught.value)


def test_a_proxy_that_is_not_there_is_named(registry: BadRegistry) -> None:
    nobody = Registry(plain_http=True, proxy=parse_proxy("http://127.0.0.1:1"))

    with pytest.raises(RegistryUnreachable, match=r"its proxy fails: .*refused"):
        source(registry.address, rules=nobody).resolve()

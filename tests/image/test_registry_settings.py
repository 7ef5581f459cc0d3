"""The tables [registries."HOST:PORT"] of the site's and the user's settings."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpcbox import registries, settings
from hpcbox.errors import SettingsError
from hpcbox.registries import Proxy, Registry

FULL = """
[registries."Registry.site:5000"]
plain_http = true
ca_file = "/etc/site/ca.pem"
mirrors = ["mirror.site", "cache.site:5000/hub"]
proxy = "http://alice:s%40cret@proxy.site:3128"
client_certificate = "/etc/site/client.pem"
client_key = "/etc/site/client.key"
[registries.plain]
proxy = "none"
"""


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_table_says_how_a_registry_is_reached(tmp_path: Path) -> None:
    found = settings.read_file(write(tmp_path / "hpcbox.toml", FULL))["registries"]

    assert found["registry.site:5000"] == Registry(
        plain_http=True,
        ca_file="/etc/site/ca.pem",
        mirrors=("mirror.site", "cache.site:5000/hub"),
        proxy=Proxy("http://proxy.site:3128", "alice", "s@cret"),
        client_certificate="/etc/site/client.pem",
        client_key="/etc/site/client.key",
    )
    assert found["plain"] == Registry(proxy=Proxy(""))


def test_a_compiled_table_reads_back_equal(tmp_path: Path) -> None:
    source = write(tmp_path / "hpcbox.toml", FULL)
    compiled = write(tmp_path / "settings.json", settings.compile_site(source))

    read = settings.load_compiled(compiled)

    assert read.registries == settings.read_file(source)["registries"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("mirror = []", "'mirror' of r.site is unknown: did you mean 'mirrors'?"),
        ("plain-http = true", "did you mean 'plain_http'?"),
        ("zzz = 1", "known are plain_http"),
        ('plain_http = "yes"', "plain_http is true or false"),
        ('ca_file = "ca.pem"', "an absolute path is wanted"),
        ('mirrors = "mirror.site"', "mirrors is a list"),
        ('mirrors = ["https://mirror.site"]', "mirrors is a list"),
        ('mirrors = ["mirror.site/"]', "mirrors is a list"),
        ('proxy = "socks5://alice:s3cret@proxy"', "is wanted"),
        ("proxy = 3", "is wanted"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    source = write(tmp_path / "hpcbox.toml", f'[registries."r.site"]\n{line}\n')

    with pytest.raises(SettingsError) as caught:
        settings.read_file(source)

    said = str(caught.value)
    assert reason in said
    assert source in said
    assert "s3cret" not in said


@pytest.mark.parametrize("name", ["https://r.site", "r.site/team", "", "r site", "r.site:x"])
def test_what_is_no_registry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no registry"):
        registries.parse({name: {}})


SITE = {
    "r.site": Registry(ca_file="/site.pem", mirrors=("m.site",)),
    "p.site": Registry(plain_http=True),
}


def test_a_user_adds_registries_and_what_the_site_leaves_open() -> None:
    proxy = Proxy("http://proxy:3128")
    user = {"r.site": Registry(proxy=proxy), "mine:5000": Registry(plain_http=True)}

    found = registries.merged(SITE, user)

    assert found["r.site"] == replace(SITE["r.site"], proxy=proxy)
    assert found["mine:5000"].plain_http
    assert found["p.site"] == SITE["p.site"]


@pytest.mark.parametrize(
    ("user", "key"),
    [
        (Registry(plain_http=True), "plain_http"),
        (Registry(ca_file="/mine.pem"), "ca_file"),
        (Registry(mirrors=("other.site",)), "mirrors"),
    ],
)
def test_a_user_can_not_weaken_what_the_site_says(user: Registry, key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}' of r.site is the site's to say"):
        registries.merged(SITE, {"r.site": user})


def test_saying_what_the_site_says_is_allowed() -> None:
    assert registries.merged(SITE, SITE) == SITE


def test_a_user_s_file_counts_for_the_one_who_fetches_on_a_node(tmp_path: Path) -> None:
    path = write(
        tmp_path / "user.toml",
        'netrc = "~/keys"\n[registries."mine:5000"]\nplain_http = true\n',
    )
    site = settings.Settings(store="/srv", registries=SITE)

    found = settings.with_user_registries(site, path)

    assert set(found.registries) == {"r.site", "p.site", "mine:5000"}
    assert (found.netrc, found.store) == ("~/keys", "/srv")


def test_a_user_s_file_that_contradicts_the_site_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "user.toml", '[registries."r.site"]\nplain_http = true\n')

    with pytest.raises(SettingsError, match=f"{path}: registries: 'plain_http' of r.site"):
        settings.with_user_registries(settings.Settings(store="/", registries=SITE), path)


@pytest.mark.parametrize("words", [["settings"], ["settings", "--json"]])
def test_the_settings_are_shown_without_a_proxy_s_password(
    tmp_path: Path, words: list[str]
) -> None:
    home = tmp_path / "home"
    write(home / ".config/hpcbox/hpcbox.toml", FULL)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    home.chmod(0o755)

    done = subprocess.run(
        [sys.executable, "-m", "hpcbox", *words],
        capture_output=True,
        text=True,
        check=True,
        user=65532,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
    )

    assert "proxy.site" in done.stdout
    assert "cret" not in done.stdout
    if "--json" in words:
        shown = json.loads(done.stdout)["registries"]["registry.site:5000"]["proxy"]
        assert shown == {"address": "http://proxy.site:3128", "username": "alice"}

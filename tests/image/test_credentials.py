"""Where credentials are found, and where they are not looked for."""

import base64
import json
import os
from pathlib import Path

import pytest

from hpcbox.errors import RegistryRefused
from hpcbox.image import credential_search, netrc
from hpcbox.image.credentials import Credentials

REGISTRY = "registry.site:5000"


def auth(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without anything."""
    found = tmp_path / "home"
    found.mkdir()
    monkeypatch.setenv("HOME", str(found))
    return found


def write(path: Path, table: object, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    path.chmod(mode)
    return path


def find(
    registry: str = REGISTRY, repository: str = "team/app", **environ: str
) -> Credentials | None:
    return credential_search.find(registry, repository, "~/.config/hpcbox/netrc", environ)


def test_without_any_file_there_are_none() -> None:
    assert find() is None


def test_the_first_place_that_knows_the_registry_counts(tmp_path: Path, home: Path) -> None:
    places = [
        tmp_path / "auth-file",
        tmp_path / "docker/config.json",
        tmp_path / "run/containers/auth.json",
        home / ".config/containers/auth.json",
        home / ".docker/config.json",
    ]
    for number, path in enumerate(places):
        write(path, {"auths": {REGISTRY: auth(f"user{number}:x")}})
    write(home / ".config/hpcbox/netrc", f"machine {REGISTRY} login user5 password x")
    environ = {
        "REGISTRY_AUTH_FILE": str(places[0]),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }

    found = []
    for path in (*places, home / ".config/hpcbox/netrc"):
        credentials = find(**environ)
        assert credentials is not None
        found.append(credentials.username)
        path.unlink()

    assert found == [f"user{number}" for number in range(6)]
    assert find(**environ) is None


KEYS = [
    ("registry.site:5000/team/app", "team/app", True),
    ("registry.site:5000/team", "team/app", True),
    ("registry.site:5000", "team/app", True),
    ("https://registry.site:5000", "team/app", True),
    ("https://registry.site:5000/v1/", "team/app", True),
    ("http://registry.site:5000/v2/", "team/app", True),
    ("registry.site", "team/app", False),
    ("registry.site:5001", "team/app", False),
    ("registry.site:5000/tea", "team/app", False),
    ("registry.site:5000/team/app/more", "team/app", False),
    ("other.site/registry.site:5000", "team/app", False),
]


@pytest.mark.parametrize(("key", "repository", "fits"), KEYS)
def test_an_entry_belongs_to_a_registry_or_a_part_of_it(
    home: Path, key: str, repository: str, *, fits: bool
) -> None:
    write(home / ".docker/config.json", {"auths": {key: auth("alice:s3cret")}})

    assert find(repository=repository) == (Credentials("alice", "s3cret") if fits else None)


def test_the_longest_key_that_fits_counts(home: Path) -> None:
    names = {REGISTRY: auth("a:x"), f"{REGISTRY}/team": auth("b:x"), "https://x": auth("c:x")}
    write(home / ".docker/config.json", {"auths": names})

    found = [find(repository=name) for name in ("team/app", "other")]

    assert [one.username for one in found if one] == ["b", "a"]


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_has_several_names(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {"auths": {key: auth("alice:s3cret")}})

    assert find("docker.io", "library/debian") == Credentials("alice", "s3cret")


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"username": "alice", "password": "s"}, Credentials("alice", "s")),
        ({**auth("alice:s:t"), "email": "x"}, Credentials("alice", "s:t")),
        (auth("alice:s\0\0"), Credentials("alice", "s")),
        ({**auth("0-0:"), "identitytoken": "tok"}, Credentials("0-0", "", "tok")),
        ({"identitytoken": "tok"}, Credentials("", "", "tok")),
        ({}, None),
    ],
)
def test_an_entry_has_several_forms(
    home: Path, entry: dict[str, str], found: Credentials | None
) -> None:
    write(home / ".docker/config.json", {"auths": {REGISTRY: entry}})

    assert find() == found


BROKEN = {
    "no JSON": "{'s3cret'",
    "a list": "[]",
    "auths is a text": {"auths": "s3cret"},
    "entry is a text": {"auths": {REGISTRY: "s3cret"}},
    "no base64": {"auths": {REGISTRY: {"auth": "s3cret!"}}},
    "not text": {"auths": {REGISTRY: {"auth": "/////w=="}}},
    "no colon": {"auths": {REGISTRY: {"auth": base64.b64encode(b"s3cret").decode()}}},
    "number": {"auths": {REGISTRY: {"username": 5, "password": "s3cret"}}},
    "helper with a path": {"credsStore": "../../tmp/s3cret"},
    "helper of a wrong kind": {"credHelpers": {REGISTRY: ["s3cret"]}},
}


@pytest.mark.parametrize("table", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_and_not_quoted(home: Path, table: object) -> None:
    path = write(home / ".docker/config.json", table)

    with pytest.raises(RegistryRefused) as caught:
        find()

    assert str(path) in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a credential helper `test`, first in PATH; it notes what it is asked."""
    folder = tmp_path / "bin"
    script = """#!/bin/sh
name=$(cat)
echo "$1 $name" >> "$0.log"
[ -f "$0.sleep" ] && exec sleep 60
case "$1 $name" in
"get registry.site:5000") echo '{"Username":"alice","Secret":"s3cret"}' ;;
"get token.site") echo '{"Username":"<token>","Secret":"tok"}' ;;
"get empty.site") echo '{"Username":"","Secret":""}' ;;
"get broken.site") printf 'boom \\033[2J\\nmore'; exit 3 ;;
"get odd.site") echo 's3cret' ;;
"get "*) echo "credentials not found in native keychain"; exit 1 ;;
esac
"""
    write(folder / "docker-credential-test", script, 0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "docker-credential-test.log"


@pytest.mark.parametrize(
    "table", [{"credsStore": "test"}, {"credHelpers": {REGISTRY: "test"}, "credsStore": "none"}]
)
def test_a_helper_is_asked_for_the_registry(
    home: Path, helper: Path, table: dict[str, object]
) -> None:
    write(home / ".docker/config.json", table)

    assert find() == Credentials("alice", "s3cret")
    assert helper.read_text() == f"get {REGISTRY}\n"


def test_a_helper_may_give_an_identity_token(home: Path, helper: Path) -> None:
    write(home / ".docker/config.json", {"credsStore": "test"})

    assert find("token.site") == Credentials("", "", "tok")
    assert helper.exists()


@pytest.mark.parametrize("registry", ["unknown.site", "empty.site"])
def test_what_a_helper_does_not_know_may_stand_in_the_file(
    home: Path, helper: Path, registry: str
) -> None:
    entry = {registry: auth("bob:x")}
    write(home / ".docker/config.json", {"credsStore": "test", "auths": entry})

    assert find(registry) == Credentials("bob", "x")
    assert helper.exists()


@pytest.mark.parametrize(
    ("registry", "name", "reason"),
    [
        ("broken.site", "test", r"boom \x1b[2J\nmore"),
        ("odd.site", "test", "something else"),
        ("any.site", "missing", "not installed"),
    ],
)
def test_a_helper_that_fails_is_named_in_one_line(
    home: Path, helper: Path, registry: str, name: str, reason: str
) -> None:
    write(home / ".docker/config.json", {"credsStore": name})

    with pytest.raises(RegistryRefused) as caught:
        find(registry)

    said = str(caught.value)
    assert f"docker-credential-{name}" in said
    assert reason in said
    assert "s3cret" not in said
    assert str(helper) not in said


def test_a_helper_that_never_answers_is_given_up(
    home: Path, helper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / ".docker/config.json", {"credsStore": "test"})
    (helper.parent / "docker-credential-test.sleep").touch()
    monkeypatch.setattr("hpcbox.image.credential_helpers._TIMEOUT_SECONDS", 0.3)

    with pytest.raises(RegistryRefused, match=r"no answer within 0\.3 s"):
        find()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("machine m login alice password s3cret", ("alice", "s3cret")),
        ('machine m\n  login alice\n  password "s3 \\"c\\" ret"', ("alice", 's3 "c" ret')),
        ("# machine m login x password y\nmachine m login a password b", ("a", "b")),
        ("machine m account z login a password b machine n login c password d", ("a", "b")),
        ("machine m login a password b\nmachine m login c password d", ("a", "b")),
        ("macdef init\nmachine m login x password y\n\nmachine m login a password b", ("a", "b")),
        ("default login a password b", None),
        ("machine m login a\nmachine n password b", None),
        ("machine m login a password b#c", ("a", "b#c")),
        ("machine", None),
        ("", None),
    ],
)
def test_a_netrc_style_file_is_read(text: str, found: tuple[str, str] | None) -> None:
    assert netrc.parse(text).get("m") == found


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_netrc_that_others_may_read_is_refused(home: Path, mode: int) -> None:
    path = write(home / ".config/hpcbox/netrc", f"machine {REGISTRY} login a password b", mode)

    with pytest.raises(RegistryRefused, match=f"chmod 600 {path}"):
        find()


def test_a_netrc_of_another_account_is_refused(home: Path) -> None:
    path = write(home / ".config/hpcbox/netrc", f"machine {REGISTRY} login a password b")
    os.chown(path, 65533, 65533)

    with pytest.raises(RegistryRefused, match="another account"):
        find()


def test_a_port_is_part_of_a_machine_s_name(home: Path) -> None:
    write(home / ".config/hpcbox/netrc", "machine registry.site login a password b")

    assert find() is None
    assert find("registry.site") == Credentials("a", "b")

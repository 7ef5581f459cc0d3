"""`hpcbox login` and `hpcbox logout`, as a person and as a script use them."""

import base64
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.bad_registry import BadRegistry
from tests.services.registry import Registry
from tests.services.small_images import file, push_image, tar
from tests.services.token_service import TokenService
from tests.store.pulling import finish, hpcbox

LAYER = tar(file("a", b"1"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that takes alice's password only."""
    with Registry(tmp_path_factory.mktemp("locked"), credentials=("alice", "s3cret")) as running:
        push_image(running, "team/app:1", LAYER)
        yield running


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that sends its users to a token service."""
    folder = tmp_path_factory.mktemp("tokens")
    with (
        TokenService(folder / "service") as service,
        Registry(folder / "root", token=service.settings(), bearer=service.token) as running,
    ):
        push_image(running, "team/app:1", LAYER)
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def config(home: Path) -> Path:
    return home / ".docker/config.json"


def run(*words: str, home: Path, given: str | None = None, **environ: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "hpcbox", *words],
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), **environ},
    )
    return done.returncode, done.stdout, done.stderr


def login(
    address: str, home: Path, given: str = "s3cret\n", **environ: str
) -> tuple[int, str, str]:
    words = ["login", address, "-u", "alice", "--password-stdin"]
    return run(*words, home=home, given=given, **environ)


@pytest.mark.parametrize("kind", ["locked", "tokens"])
def test_after_a_login_private_images_can_be_pulled_and_after_a_logout_not(
    request: pytest.FixtureRequest, home: Path, tmp_path: Path, kind: str
) -> None:
    registry: Registry = request.getfixturevalue(kind)
    image = f"{registry.address}/team/app:1"

    def pull() -> tuple[int, str, str]:
        return finish(hpcbox("pull", image, store=tmp_path / "store", HOME=str(home)))

    before, _, refused = pull()
    code, out, err = login(registry.address, home)
    after, _, _ = pull()
    left = run("logout", registry.address, home=home)
    last, _, _ = pull()

    assert (before, after, last) == (77, 0, 77)
    assert f"— run 'hpcbox login {registry.address}'" in refused
    assert (code, err) == (0, "")
    assert out == f"logged in to {registry.address} as alice; kept in {config(home)}\n"
    assert left == (0, f"logged out of {registry.address}\n", "")


@pytest.mark.parametrize("kind", ["locked", "tokens"])
def test_wrong_credentials_are_not_kept(
    request: pytest.FixtureRequest, home: Path, kind: str
) -> None:
    registry: Registry = request.getfixturevalue(kind)

    code, out, err = login(registry.address, home, "wr0ng")

    assert (code, out) == (77, "")
    assert err == (
        f"hpcbox: cannot log in to {registry.address}: the registry refused the credentials of"
        " alice (401) — check the name and the password\n"
    )
    assert not config(home).exists()


def test_what_else_stands_in_the_file_stays(locked: Registry, home: Path) -> None:
    config(home).parent.mkdir()
    before = {
        "auths": {
            "other.site": {"auth": "eDp5"},
            f"https://{locked.address}/v1/": {"auth": "eDp6"},
        },
        "HttpHeaders": {"X": "y"},
        "credHelpers": {"third.site": "pass"},
    }
    config(home).write_text(json.dumps(before))
    config(home).chmod(0o644)

    login(locked.address, home)

    pair = base64.b64encode(b"alice:s3cret").decode()
    assert json.loads(config(home).read_text()) == {
        **before,
        "auths": {"other.site": {"auth": "eDp5"}, locked.address: {"auth": pair}},
    }
    assert stat.S_IMODE(config(home).stat().st_mode) == 0o600
    assert os.listdir(config(home).parent) == ["config.json"]

    run("logout", locked.address, home=home)

    assert json.loads(config(home).read_text())["auths"] == {"other.site": {"auth": "eDp5"}}


def test_a_file_that_is_no_json_is_left_alone(locked: Registry, home: Path) -> None:
    config(home).parent.mkdir()
    config(home).write_text("{broken")

    code, _, err = login(locked.address, home)

    assert code == 77
    assert "is no JSON" in err
    assert config(home).read_text() == "{broken"


def test_a_link_to_the_file_stays_a_link(locked: Registry, home: Path) -> None:
    config(home).parent.mkdir()
    (home / "dotfiles").mkdir()
    config(home).symlink_to("../dotfiles/docker.json")

    code, _, _ = login(locked.address, home)

    assert code == 0
    assert config(home).is_symlink()
    assert locked.address in (home / "dotfiles/docker.json").read_text()


@pytest.mark.parametrize("variable", ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG"])
def test_the_variables_say_where_it_is_kept(locked: Registry, home: Path, variable: str) -> None:
    place = home / "elsewhere"
    environ = {variable: str(place)}

    login(locked.address, home, **environ)

    path = place if variable == "REGISTRY_AUTH_FILE" else place / "config.json"
    assert locked.address in path.read_text()
    assert not config(home).exists()


def test_a_helper_that_the_file_names_keeps_the_secret(locked: Registry, home: Path) -> None:
    helper = home / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(
        '#!/bin/sh\ncase $1 in\nstore) cat > "$HOME/kept" ;;\n'
        'get) cat "$HOME/kept" 2>/dev/null || { echo credentials not found; exit 1; } ;;\n'
        'erase) rm "$HOME/kept" ;;\nesac\n'
    )
    helper.chmod(0o755)
    config(home).parent.mkdir()
    table = {"credsStore": "test", "auths": {locked.address: {"auth": "b2xkOm9sZA=="}}}
    config(home).write_text(json.dumps(table))
    path = {"PATH": f"{helper.parent}:/usr/bin:/bin"}

    _, out, _ = login(locked.address, home, **path)

    assert out.endswith("kept in docker-credential-test\n")
    assert json.loads((home / "kept").read_text()) == {
        "ServerURL": locked.address,
        "Username": "alice",
        "Secret": "s3cret",
    }
    assert json.loads(config(home).read_text())["auths"] == {locked.address: {}}

    assert run("logout", locked.address, home=home, **path)[1].startswith("logged out")
    assert not (home / "kept").exists()


def test_a_logout_says_who_else_has_credentials(locked: Registry, home: Path) -> None:
    other = home / ".config/containers/auth.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({"auths": {locked.address: {"auth": "eDp5"}}}))

    code, out, err = run("logout", locked.address, home=home)

    assert (code, out) == (0, f"was not logged in to {locked.address}\n")
    assert err == f"credentials for {locked.address} still stand in {other}\n"
    assert not config(home).exists()


@pytest.mark.parametrize(
    ("words", "given", "code", "text"),
    [
        (["login", "127.0.0.1:1", "-u", "a"], None, 64, "no terminal to ask"),
        (["login", "127.0.0.1:1", "--password-stdin"], "x", 64, "add -u NAME"),
        (["login", "127.0.0.1:1", "-u", "a", "--password-stdin"], "", 64, "password is empty"),
        (["login", "127.0.0.1:1", "-u", "a", "--password-stdin"], "x\x1by", 64, "control"),
        (["login", "127.0.0.1:1", "-u", "a:b", "--password-stdin"], "x", 64, "colon"),
        (["login", "127.0.0.1:1", "-u", "a", "--password-stdin"], "x" * 70000, 64, "more than"),
        (["login", "not a host", "-u", "a", "--password-stdin"], "x", 64, "is no registry"),
        (["login", "127.0.0.1:1", "-u", "a", "--password-stdin"], "x", 69, "cannot be reached"),
    ],
)
def test_a_login_that_can_not_be_says_why(
    home: Path, words: list[str], given: str | None, code: int, text: str
) -> None:
    found, out, err = run(*words, home=home, given=given)

    assert (found, out) == (code, "")
    assert text in err
    assert len(err.splitlines()) == 1
    assert not config(home).exists()


def test_a_server_that_is_no_registry_is_named(home: Path) -> None:
    with BadRegistry() as server:
        code, _, err = login(server.address, home)

    assert code == 69
    assert "answers 404 to the question whether it is a registry" in err


def test_a_registry_that_asks_nobody_gets_no_password(home: Path) -> None:
    with BadRegistry() as server:
        server.serve("/v2/", b"{}")
        code, out, err = login(f"http://{server.address}/", home)
        sent = [headers.get("Authorization") for _, headers in server.received]

    assert code == 0
    assert sent == [None]
    assert server.address in out
    assert "unchecked" in err


def test_a_terminal_is_asked_and_shows_no_password(locked: Registry, home: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TERM": "xterm"}
        words = [sys.executable, "-m", "hpcbox", "login", locked.address]
        os.execve(sys.executable, words, environ)  # noqa: S606 - a terminal of its own
    shown = b""
    for prompt, answer in ((b"name at ", b"alice\n"), (b"password of alice: ", b"s3cret\n")):
        while prompt not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, answer)
    try:
        while piece := os.read(terminal, 1000):
            shown += piece
    except OSError:
        # The program has ended, and with it its end of the terminal.
        pass
    os.close(terminal)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert b"logged in" in shown
    assert b"s3cret" not in shown


def test_no_secret_is_in_an_argument_an_error_or_a_trace(locked: Registry, home: Path) -> None:
    words = ["--debug", "login", locked.address, "-u", "alice", "--password-stdin"]

    code, out, err = run(*words, home=home, given="wr0ngs3cret")

    assert code != 0
    assert "Traceback" in err
    assert "wr0ngs3cret" not in out + err
    assert base64.b64encode(b"alice:wr0ngs3cret").decode() not in out + err

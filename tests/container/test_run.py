"""`hpcbox run` on this machine: codes, signals, terminal, explanation, and that nothing stays."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.container.verbs import Terminal, Verb, line, session_members
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.commands import wait_until
from tests.services.small_images import compressed, digest, file, push_image, tar
from tests.store.pulling import scratch, visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def terminal(verb: Verb) -> Iterator[Terminal]:
    """A person at a shell; RUN begins a command line of the verb, RUN_SHELL runs one inside."""
    run = " ".join([*verb.words(), "--"])
    shell = f"{run} env PS1=inside> sh"
    opened = Terminal(verb.environment(RUN=run, RUN_SHELL=shell, PS1="$ ", TERM="dumb"))
    yield opened
    opened.close()


def wait_until_gone(session: int) -> None:
    wait_until(
        lambda: session_members(session) == [],
        timeout_seconds=10,
        what=lambda: f"nothing is left of {session_members(session)}",
    )


def test_the_images_own_command_is_the_default(verb: Verb) -> None:
    done = verb.run()

    assert (done.returncode, done.stdout, done.stderr) == (0, "by default\n", "")


def test_an_image_without_a_command_wants_one(image_store: Path, bare: str) -> None:
    done = Verb(image_store, bare).run()

    assert done.returncode == 125
    assert "has no command of its own — give one after --" in done.stderr


def test_options_of_the_command_are_the_commands(verb: Verb) -> None:
    assert verb.run("echo", "--image", "--", "--help").stdout == "--image -- --help\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--json"], "--json goes with --explain"),
        (["--pull=maybe"], "invalid choice: 'maybe'"),
        (["--image="], "--container-image is empty"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_a_wrong_command_line_ends_with_125(verb: Verb, options: list[str], reason: str) -> None:
    done = verb.run("true", options=options)

    assert (done.returncode, len(done.stderr.splitlines())) == (125, 1)
    assert reason in done.stderr


def test_defaults_come_from_the_environment(verb: Verb) -> None:
    env = {"HPCBOX_CONTAINER_WORKDIR": "/dev", "PYXIS_CONTAINER_WORKDIR": "/sys"}

    assert verb.run("pwd", env=env).stdout == "/dev\n"
    assert verb.run("pwd", options=["--container-workdir=/tmp"], env=env).stdout == "/tmp\n"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("REMAP_ROOT", "1", 125), ("REMAP_ROOT", "no", 0), ("WRITABLE", "0", 125)]
    + [("WRITABLE", "yes", 0), ("MOUNT_HOME", "perhaps", 125), ("NAME", "x", 125)],
)
def test_defaults_that_cannot_be_had_are_refused(
    verb: Verb, name: str, value: str, code: int
) -> None:
    done = verb.run("true", env={f"PYXIS_CONTAINER_{name}": value})

    assert done.returncode == code
    assert (f"PYXIS_CONTAINER_{name}" in done.stderr) == (code != 0)


def test_nothing_is_asked_of_the_registry_for_an_image_that_is_there(
    image_store: Path, tools: str
) -> None:
    """A digest names no registry: it is found in the store or not at all."""
    assert Verb(image_store, tools).run("echo", "there").stdout == "there\n"


def test_pull_never_refuses_an_image_that_is_missing(image_store: Path) -> None:
    done = Verb(image_store, "127.0.0.1:9/nope:1").run("true", options=["--pull=never"])

    assert done.returncode == 125
    assert "the store has no image '127.0.0.1:9/nope:1'" in done.stderr


def test_pull_always_finds_the_new_image_of_a_tag(image_store: Path) -> None:
    with BadRegistry() as registry:
        verb = Verb(image_store, f"{registry.address}/moving:1")
        push_image(registry, "moving:1", tar(file("etc/version", b"one")))
        first = verb.run("true", options=["--explain", "--json"])
        push_image(registry, "moving:1", tar(file("etc/version", b"two")))
        same = verb.run("true", options=["--explain", "--json"])
        other = verb.run("true", options=["--explain", "--json", "--pull=always"])

    digests = [json.loads(done.stdout)["digest"] for done in (first, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_explain_names_each_origin(verb: Verb) -> None:
    options = ["--explain", "--json", "--container-env=OWN", "--container-mounts=tmpfs:/t,/usr:/u"]
    facts = json.loads(verb.run("env", options=options, env={"OWN": "x", "COLOUR": "host"}).stdout)

    origins = {one["name"]: (one["value"], one["origin"]) for one in facts["variables"]}
    assert origins["PATH"] == ("/bin:/usr/bin", "image")
    assert origins["COLOUR"] == ("image", "image")
    assert origins["OWN"] == ("x", "--container-env")
    assert origins["TERM"] == ("xterm", "host")
    assert origins["HPCBOX_IMAGE"] == (verb.image, "hpcbox")
    assert facts["workdir"] == {"path": "/bin", "origin": "image"}
    mounts = {one["target"]: (one["source"], one["origin"]) for one in facts["mounts"]}
    assert mounts["/proc"] == ("/proc", "hpcbox")
    assert mounts["/t"] == ("tmpfs", "--container-mounts")
    assert mounts["/u"] == ("/usr", "--container-mounts")
    assert facts["command"] == ["env"]


def test_explain_runs_nothing_and_cannot_move_a_cursor(verb: Verb, tmp_path: Path) -> None:
    done = verb.run(
        "touch", str(tmp_path / "ran"), options=["--explain"], env={"EVIL": "\x1b[2J\nx"}
    )

    assert done.returncode == 0, done.stderr
    assert "EVIL=\\x1b[2J\\nx  (host)" in done.stdout
    assert not (tmp_path / "ran").exists()


def test_root_without_a_site_is_itself_and_powerless(verb: Verb) -> None:
    done = verb.run("sh", "-c", "id -u; cat /proc/self/status; mount -t tmpfs none /bin")

    assert done.returncode != 0
    assert done.stdout.startswith("0\n")
    assert "CapEff:\t" + "0" * 16 in done.stdout
    assert "CapBnd:\t" + "0" * 16 in done.stdout


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]
)
def test_a_signal_is_handed_on_to_the_command(verb: Verb, number: int) -> None:
    script = f"trap 'echo caught; exit 3' {number}; echo ready; while :; do sleep 0.02; done"
    with verb.start("sh", "-c", script) as process:
        assert line(process.stdout) == "ready"

        process.send_signal(number)

        assert line(process.stdout) == "caught"
        assert process.wait(10) == 3


def test_a_command_that_a_signal_ends_is_told_by_the_code(verb: Verb) -> None:
    with verb.start("sh", "-c", "echo ready; exec sleep 600") as process:
        assert line(process.stdout) == "ready"

        process.terminate()

        assert process.wait(10) == 128 + signal.SIGTERM


def test_what_the_command_leaves_running_ends_with_it(verb: Verb) -> None:
    with verb.start("sh", "-c", "(sleep 600 &) ; echo left") as process:
        assert line(process.stdout) == "left"

        assert process.wait(10) == 0
        wait_until_gone(process.pid)


def test_a_reader_that_leaves_ends_the_command(verb: Verb) -> None:
    with verb.start("yes") as process:
        assert line(process.stdout) == "y"
        assert process.stdout is not None

        process.stdout.close()

        assert process.wait(10) == 128 + signal.SIGPIPE


def test_a_closed_stdin_is_an_empty_one(verb: Verb) -> None:
    words = ["sh", "-c", 'exec "$@" <&-', "sh", *verb.words("wc", "-c")]
    done = subprocess.run(words, env=verb.environment(), capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "0"


def test_kill_9_leaves_nothing_of_a_running_command(verb: Verb) -> None:
    with verb.start("sh", "-c", "trap '' TERM HUP; sleep 600 & echo ready; wait") as process:
        assert line(process.stdout) == "ready"
        assert len(session_members(process.pid)) == 5

        process.kill()

        wait_until_gone(process.pid)


def test_kill_9_of_the_keeper_ends_the_container(verb: Verb) -> None:
    with verb.start("sh", "-c", "echo ready; sleep 600") as process:
        assert line(process.stdout) == "ready"
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as children:
            keeper = int(children.read())

        os.kill(keeper, signal.SIGKILL)

        assert process.wait(10) == 125
        assert "ended from outside" in line(process.stderr)
        wait_until_gone(process.pid)


def test_kill_9_at_any_moment_leaves_nothing(verb: Verb) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    print(f"seed {seed}")
    moments = random.Random(seed)  # noqa: S311
    for _ in range(15):
        with verb.start("sh", "-c", "sleep 600 & wait") as process:
            # Start-up, set-up and command take about 0.3 s together.
            time.sleep(moments.uniform(0.05, 0.4))
            process.kill()
            process.wait()
            wait_until_gone(process.pid)


@pytest.fixture
def stalling() -> Iterator[str]:
    """Reference of an image whose registry stops in the middle of its layer."""
    with BadRegistry() as registry:
        layer = tar(file("noise", os.urandom(2**20)))
        push_image(registry, "stalls:1", layer)
        blob = digest(compressed(layer, "gzip"))
        registry.spoil(f"/v2/stalls/blobs/{blob}", Fault(stall_after=2**19))
        yield f"{registry.address}/stalls:1"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_during_the_pull_cleans_up(
    tmp_path: Path, stalling: str, number: int, code: int
) -> None:
    store = tmp_path / "store"
    with Verb(store, stalling).start("true") as process:
        wait_until(lambda: len(scratch(store)) > 0, timeout_seconds=10, what="the pull has begun")

        process.send_signal(number)

        assert process.wait(10) == code
        wait_until_gone(process.pid)
    assert (scratch(store), visible(store)) == ([], set())


def test_nohup_holds_during_the_pull(tmp_path: Path, stalling: str) -> None:
    store = tmp_path / "store"
    verb = Verb(store, stalling)
    with subprocess.Popen(
        ["nohup", *verb.words("true")],
        env=verb.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        wait_until(lambda: len(scratch(store)) > 0, timeout_seconds=10, what="the pull has begun")

        process.send_signal(signal.SIGHUP)
        process.terminate()

        assert process.wait(10) == 128 + signal.SIGTERM


def test_kill_9_during_the_pull_shows_nothing_half_written(tmp_path: Path, stalling: str) -> None:
    store = tmp_path / "store"
    with Verb(store, stalling).start("true") as process:
        wait_until(lambda: len(scratch(store)) > 0, timeout_seconds=10, what="the pull has begun")

        process.kill()

        wait_until_gone(process.pid)
    assert visible(store) == set()


def test_a_shell_inside_has_job_control(terminal: Terminal) -> None:
    terminal.type("$RUN_SHELL\r")
    terminal.wait_for("inside>")
    terminal.type("sh -c 'while sleep 0.1; do echo tick; done'\r")
    terminal.wait_for("tick\r\n")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.wait_for("inside>")
    terminal.type("fg\r")
    terminal.wait_for("fg\r\n")
    terminal.wait_for("tick\r\n")
    terminal.type("\x03")
    terminal.wait_for("inside>")
    terminal.type("exit 5\r")
    terminal.wait_for("$ ")
    # The shell outside has its terminal back.
    terminal.type("echo code=$?\r")
    terminal.wait_for("code=5")


def test_keys_of_the_terminal_act_on_a_plain_command(terminal: Terminal) -> None:
    terminal.type("$RUN sh -c 'while sleep 0.1; do echo tick; done'\r")
    terminal.wait_for("tick\r\n")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.wait_for("$ ")
    terminal.type("fg\r")
    terminal.wait_for("fg\r\n")
    terminal.wait_for("tick\r\n")
    terminal.type("\x03")
    terminal.wait_for("$ ")
    terminal.type("echo code=$?\r")
    terminal.wait_for("code=130")


def test_a_pager_behind_a_pipe_keeps_the_terminal(terminal: Terminal) -> None:
    terminal.type("$RUN echo through | { cat; read answer </dev/tty; echo got=$answer; }\r")
    terminal.wait_for("through\r\n")
    terminal.type("yes\r")
    terminal.wait_for("got=yes")

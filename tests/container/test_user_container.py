"""User containers as the node agent and `hpcbox run` use them: commands, signals, ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpcbox.container.user_mode import Exited, NotStarted, Started, UserContainer
from hpcbox.errors import MountRefused, StoreError
from tests.container import running
from tests.container.running import container, events, members, pid_namespace, run, spawn
from tests.services.commands import wait_until

REPOSITORY = Path(__file__).parents[2]


def test_commands_end_with_their_codes(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        assert run(inside, "echo", "hello") == (0, "hello\n")
        assert run(inside, "sh", "-c", "exit 42") == (42, "")
        assert run(inside, "sh", "-c", "kill -SEGV $$") == (139, "")


def test_a_command_that_the_image_lacks_is_named(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        missing = run(inside, "nope")
        path = run(inside, "/nope/nope")
        folder = run(inside, "/bin")

    assert missing == (127, "nope: not found in image tools:1 (PATH=/bin:/usr/bin)")
    assert path == (127, "/nope/nope: not found in image tools:1")
    assert folder == (126, "/bin: not executable in image tools:1")


def test_a_command_without_its_interpreter_says_so(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        run(inside, "sh", "-c", "echo '#!/usr/bin/perl' > /script; /bin/busybox chmod +x /script")
        code, text = run(inside, "/script")

    assert code == 126
    assert "interpreter" in text


def test_a_working_directory_that_is_missing_is_named(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        code, text = run(inside, "pwd", cwd="/missing")

    assert code == 125
    assert "/missing" in text
    assert "--container-workdir" in text


def test_sixty_four_commands_run_at_once(image_store: Path, tools: str) -> None:
    keys = set(range(64))
    with container(image_store, tools) as inside:
        for key in keys:
            spawn(inside, key, "sh", "-c", f"exit {key}")
        found = events(inside, 2 * len(keys))

    assert {event.key for event in found if isinstance(event, Started)} == keys
    assert {event.key: event.code for event in found if isinstance(event, Exited)} == {
        key: key for key in keys
    }


def test_events_that_nobody_fetches_do_not_stop_commands(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        for key in range(600):
            spawn(inside, key, "nope")
        found = events(inside, 600)

    assert [event.key for event in found if isinstance(event, NotStarted)] == list(range(600))


def test_many_words_and_variables_arrive_whole(image_store: Path, tools: str) -> None:
    words = [f"{number}" * 50 for number in range(5000)]
    env = {f"V{number}": "x y\n" * 20 for number in range(2000)} | {"PATH": "/bin"}
    with container(image_store, tools) as inside:
        code, output = run(inside, "echo", *words, env=env)
        _, variables = run(inside, "env", env=env)

    assert (code, output.split()) == (0, words)
    assert variables.count("x y\n") == 2000 * 20


def test_a_signal_reaches_the_whole_process_group(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        spawn(inside, 7, "sh", "-c", "sleep 600 & wait")
        assert isinstance(events(inside, 1)[0], Started)
        namespace = pid_namespace(inside.init_pid)
        wait_until(lambda: len(members(namespace)) == 3, timeout_seconds=10, what="all run")

        inside.signal(7, signal.SIGTERM)

        end = events(inside, 1)[0]
        wait_until(lambda: len(members(namespace)) == 1, timeout_seconds=10, what="both end")
    assert isinstance(end, Exited)
    assert (end.key, end.code) == (7, 128 + signal.SIGTERM)


def test_a_signal_for_a_command_that_has_ended_hits_nobody(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        assert run(inside, "true") == (0, "")
        inside.signal(1, signal.SIGKILL)
        assert run(inside, "echo", "alive") == (0, "alive\n")


def test_orphans_are_reaped(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        assert run(inside, "sh", "-c", "for n in 1 2 3 4 5; do (sleep 0 &) & done")[0] == 0
        namespace = pid_namespace(inside.init_pid)
        wait_until(
            lambda: len(members(namespace)) == 1,
            timeout_seconds=10,
            what=lambda: f"only the init is left of {members(namespace)}",
        )


def test_the_container_has_processes_of_its_own_alone(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        _, listing = run(inside, "sh", "-c", "echo $$; ls /proc; true")

    own, *names = listing.split()
    assert [name for name in names if name.isdigit()] == ["1", own, str(int(own) + 1)]


def test_a_pipe_ends_with_the_command_and_not_with_the_container(
    image_store: Path, tools: str
) -> None:
    reader, writer = os.pipe()
    with container(image_store, tools) as inside:
        # The container's own processes were forked from this one, which holds both ends.
        os.close(writer)
        with open(reader, "rb") as pipe:
            assert pipe.read() == b""
        assert run(inside, "true") == (0, "")


def test_close_takes_everything_along(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        spawn(inside, 1, "sh", "-c", "trap '' TERM HUP INT; (sleep 600 &) ; sleep 600")
        events(inside, 1)
        namespace = pid_namespace(inside.init_pid)
        assert len(members(namespace)) > 1
        assert len(os.listdir(image_store / "leases")) == 1

    assert members(namespace) == []
    assert os.listdir(image_store / "leases") == []


def test_the_end_of_the_owner_takes_everything_along(image_store: Path, tools: str) -> None:
    script = (
        "import sys; from tests.container import running; from pathlib import Path\n"
        f"with running.container(Path({str(image_store)!r}), {tools!r}) as inside:\n"
        "    running.spawn(inside, 1, 'sleep', '600'); running.events(inside, 1)\n"
        "    print(running.pid_namespace(inside.init_pid), flush=True); inside.receive()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        namespace = owner.stdout.readline().strip()
        assert len(members(namespace)) == 2

        owner.kill()

        wait_until(
            lambda: members(namespace) == [],
            timeout_seconds=10,
            what=lambda: f"nothing is left of {members(namespace)}",
        )


def test_the_end_of_the_init_is_told(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        spawn(inside, 1, "sleep", "600")
        events(inside, 1)

        os.kill(inside.init_pid, signal.SIGKILL)

        assert inside.receive() is None


def test_an_own_folder_is_seen_inside(image_store: Path, tools: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    with container(image_store, tools, own_folder=tmp_path) as inside:
        assert run(inside, "cat", "/run/hpcbox/file") == (0, "from outside\n")
        assert run(inside, "touch", "/run/hpcbox/answer") == (0, "")

    assert (tmp_path / "answer").exists()


def test_the_node_shown_inside_does_not_show_the_root_again(image_store: Path, tools: str) -> None:
    with container(image_store, tools, mounts="/:/host") as inside:
        code, listing = run(inside, "ls", f"/host{image_store}")

    assert (code, listing.split()) == (0, sorted(os.listdir(image_store)))


def test_an_image_that_the_store_lacks_is_named(image_store: Path, tools: str) -> None:
    digest = "sha256:" + "0" * 64
    assert tools != digest

    with pytest.raises(StoreError, match=digest), container(image_store, digest):
        pass


def test_a_refused_mount_leaves_nothing(image_store: Path, tools: str) -> None:
    before = len(os.listdir("/proc/self/fd"))

    with (
        pytest.raises(MountRefused, match="/missing"),
        container(image_store, tools, mounts="/missing:/x"),
    ):
        pass

    assert os.listdir(image_store / "leases") == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_musl_program_runs_where_etc_cannot_be_written(image_store: Path, musl: str) -> None:
    with container(image_store, musl) as inside:
        assert run(inside, "/hello") == (0, "musl\n")


def test_nothing_inside_can_mount_or_unmount(image_store: Path, tools: str) -> None:
    with container(image_store, tools) as inside:
        assert run(inside, "umount", "/tmp")[0] != 0
        assert run(inside, "mount", "-t", "tmpfs", "none", "/bin")[0] != 0
        # A namespace of one's own gives capabilities over that alone.
        code, _ = run(inside, "unshare", "-Urm", "umount", "/proc")
        assert code != 0


def test_the_rules_for_environment_folders_and_size_hold(image_store: Path, tools: str) -> None:
    inside = UserContainer.start(
        running.request(cwd="/usr"),
        store=str(image_store),
        digest=tools,
        site_mounts=("/srv", "/not-there"),
        upper_bytes=2**20,
    )
    with inside:
        assert dict(inside.environment) == {"PATH": "/bin:/usr/bin", "COLOUR": "image"}
        assert (inside.workdir, inside.workdir_origin) == ("/bin", "image")
        assert "/srv" in [mount.target for mount in inside.mounts]
        assert "/not-there" not in [mount.target for mount in inside.mounts]
        assert run(inside, "sh", "-c", "yes > /full")[0] != 0

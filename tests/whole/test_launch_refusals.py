"""Nodes that can't be reached, or aren't what they should be: one line that names node and cure."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.services import sshd
from tests.services.commands import run, wait_until
from tests.services.slurm import Cluster
from tests.services.spec import cache_root
from tests.whole.launched import REG, launch, pids, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    """Two nodes without the plugin, whose files each test may change for a while."""
    with Cluster(nodes=2, plugin=False, name=f"refuse{os.getpid()}") as cluster:
        # Makes what a node gets once: the folder for output that no working directory takes.
        assert on_host(cluster, cwd="/usr").returncode == 0
        yield cluster


def on_host(
    cluster: Cluster,
    command: tuple[str, ...] = ("hostname",),
    env: dict[str, str] | None = None,
    **plan: Any,
) -> CompletedProcess[str]:
    """Launch a rank a node, without any image."""
    fields: dict[str, Any] = {"image": None, "tasks": 2, "mpi": "env", **plan}
    return launch(cluster, list(command), env=env, **fields)


@contextmanager
def changed(file: Path, text: str) -> Iterator[None]:
    """A file with another text, for a while."""
    before = file.read_text()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)


@contextmanager
def sshd_with(cluster: Cluster, lines: str) -> Iterator[None]:
    """The second node's ssh server with more lines of configuration, for a while."""
    config = cluster.file("n2", "/etc/ssh/sshd_config")

    def restart() -> None:
        listener = pids(cluster, "n2", "-f", "^sshd: /usr/sbin/sshd")
        cluster.run(["kill", *map(str, listener)], user="root", node="n2")
        wait_until(
            lambda: not pids(cluster, "n2", "-f", "^sshd: /usr/sbin/sshd"),
            timeout_seconds=10,
            what="sshd has ended",
        )
        cluster.run(["/usr/sbin/sshd"], user="root", node="n2", check=True)

    with changed(config, f"{config.read_text()}\n{lines}\n"):
        restart()
        try:
            yield
        finally:
            config.write_text("\n".join(config.read_text().splitlines()[: -len(lines.split("\n"))]))
    restart()


def test_a_user_without_a_key_is_told_so(cluster: Cluster) -> None:
    done = on_host(cluster, env={"HOME": "/nonexistent"})

    assert done.returncode == 125
    assert "accepts none of your ssh keys" in done.stderr


def test_an_unknown_host_key_is_refused_with_the_files_it_should_stand_in(cluster: Cluster) -> None:
    with changed(cluster.file("ctl", "/etc/ssh/ssh_known_hosts"), ""):
        done = on_host(cluster)

    assert done.returncode == 125
    assert "stands in neither /home/alice/.ssh/known_hosts and /etc/ssh/ssh_known_hosts" in (
        done.stderr
    )


def test_a_changed_host_key_fails_before_any_key_of_the_user_is_shown(
    cluster: Cluster, tmp_path: Path
) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")])
    public = (tmp_path / "other.pub").read_text()

    with changed(cluster.file("ctl", "/etc/ssh/ssh_known_hosts"), f"n1,n2 {public}"):
        done = on_host(cluster)

    assert done.returncode == 125
    assert "has another host key than" in done.stderr
    assert "hpcbox: node n1" in done.stderr or "hpcbox: node n2" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_host_key_signed_by_the_site_s_authority_is_accepted(
    cluster: Cluster, tmp_path: Path
) -> None:
    authority, host = tmp_path / "authority", tmp_path / "host"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(authority)])
    key = sshd.keys(cache_root()) / "host.pub"
    host.with_suffix(".pub").write_bytes(key.read_bytes())
    run(["ssh-keygen", "-q", "-s", str(authority), "-I", "n2", "-h", "-n", "n2", f"{host}.pub"])
    certificate = cluster.file("n2", "/etc/ssh/host-cert.pub")
    certificate.write_bytes((tmp_path / "host-cert.pub").read_bytes())
    known = f"@cert-authority n* {(tmp_path / 'authority.pub').read_text()}"

    with (
        sshd_with(cluster, f"HostCertificate /etc/ssh/{certificate.name}"),
        changed(cluster.file("ctl", "/etc/ssh/ssh_known_hosts"), known),
    ):
        done = on_host(cluster, nodes=["n2"], tasks=1)

    assert (done.returncode, done.stdout) == (0, "n2\n"), done.stderr


def test_a_node_that_does_not_exist_is_named(cluster: Cluster) -> None:
    done = on_host(cluster, nodes=["n1", "n77"])

    assert done.returncode == 125
    assert "cannot connect to node n77" in done.stderr


@pytest.mark.parametrize(
    "lines", ["MaxSessions 1", "Banner /etc/passwd", "ForceCommand exec $SSH_ORIGINAL_COMMAND"]
)
def test_a_server_s_settings_that_do_no_harm(cluster: Cluster, lines: str) -> None:
    if lines.startswith("Force"):
        # A command that only passes the other one on has to parse it as a shell does.
        lines = 'ForceCommand eval "$SSH_ORIGINAL_COMMAND"'

    with sshd_with(cluster, lines):
        done = on_host(cluster)

    assert (done.returncode, sorted(done.stdout.split())) == (0, ["n1", "n2"]), done.stderr


@pytest.mark.parametrize(
    ("lines", "words_of_it"),
    [
        ("ForceCommand echo only rsync here", "only rsync here"),
        ("ForceCommand cat /dev/zero", "the login shell prints without end"),
        ("MaxSessions 0", "the ssh connection to node n2 failed"),
    ],
)
def test_a_server_that_runs_no_agent_is_named(
    cluster: Cluster, lines: str, words_of_it: str
) -> None:
    with sshd_with(cluster, lines):
        done = on_host(cluster)

    assert done.returncode == 125
    assert "n2" in done.stderr
    assert words_of_it in done.stderr


def test_a_login_shell_that_prints_is_passed_over(cluster: Cluster) -> None:
    profile = cluster.file("ctl", "/home/alice/.bashrc")
    profile.write_text("echo welcome; echo news >&2; head -c 30000 /dev/urandom\n")
    try:
        done = on_host(cluster)
    finally:
        profile.unlink()

    assert (done.returncode, sorted(done.stdout.split())) == (0, ["n1", "n2"]), done.stderr


def test_an_agent_of_another_version_is_refused(cluster: Cluster) -> None:
    command = words(cluster, ["hostname"], image=None, tasks=2, mpi="env")
    command[2] = f"import hpcbox; hpcbox.__version__ = '9.9'\n{command[2]}"

    done = cluster.run(command)

    assert done.returncode == 125
    assert "this is 9.9 — install one version on all nodes" in done.stderr


def test_a_node_without_hpcbox_says_so(cluster: Cluster) -> None:
    command = words(cluster, ["hostname"], image=None, tasks=2, mpi="env")
    command[2] = f"import sys; sys.executable = '/opt/none/python3'\n{command[2]}"

    done = cluster.run(command)

    assert done.returncode == 125
    assert "no agent answered" in done.stderr
    assert "/opt/none/python3" in done.stderr
    assert "hpcbox must be installed there" in done.stderr


def test_a_working_directory_that_only_the_launcher_has_is_named(cluster: Cluster) -> None:
    cluster.run(["mkdir", "-p", "/tmp/only-here"], check=True)

    done = cluster.run(
        words(cluster, ["hostname"], image=None, tasks=2, mpi="env"), cwd="/tmp/only-here"
    )

    cluster.run(["rmdir", "/tmp/only-here"])
    assert done.returncode == 125
    assert "cannot change to the working directory: No such file" in done.stderr


def test_output_of_a_read_only_working_directory_is_kept_on_the_nodes(cluster: Cluster) -> None:
    done = on_host(cluster, cwd="/usr", step="ro")

    assert (done.returncode, sorted(done.stdout.split())) == (0, ["n1", "n2"]), done.stderr
    kept = "/tmp/hpcbox-2001/output/hpcbox-7.ro/rank-00001.out"
    assert cluster.run(["cat", kept], node="n2").stdout == "n2\n"


def test_an_image_that_does_not_exist_is_told_once(cluster: Cluster) -> None:
    done = on_host(cluster, image=f"{REG}/nope:1")

    assert done.returncode == 66
    assert done.stderr.count("has no image") == 1
    assert "more" not in done.stderr

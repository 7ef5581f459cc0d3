"""`hpcbox run` by people on a node of a lab, where Slurm plays no part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.container.asking import IMAGE
from tests.services.accounts import BOB
from tests.services.spec import REPOSITORY

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab

RUN = ("hpcbox", "run", f"--image={IMAGE}")
AS_BOB = ("setpriv", f"--reuid={BOB.uid}", f"--regid={BOB.uid}", "--clear-groups")


def as_root(cluster: Cluster, script: str, *words: str) -> CompletedProcess[str]:
    """Run a shell script as root on n1; its arguments are words."""
    return cluster.run(
        ["sh", "-c", script, "sh", *words],
        user="root", node="n1", cwd=str(REPOSITORY), env={"HOME": "/home/bob"},
    )  # fmt: skip


def test_bob_runs_an_image_that_he_has_never_pulled(cluster: Cluster) -> None:
    done = cluster.run(
        [*RUN, "--", "sh", "-c", "cat /etc/os-release && id -un"], user="bob", node="n1"
    )

    assert done.returncode == 0, done.stderr
    assert "VERSION_CODENAME=bookworm" in done.stdout
    assert done.stdout.endswith("\nbob\n")
    assert cluster.run(["stat", "-c", "%U %a", "/tmp/hpcbox-2002"], node="n1").stdout == "bob 700\n"


def test_the_sites_folders_are_mounted_for_people_too(cluster: Cluster) -> None:
    done = cluster.run([*RUN, "--explain"], user="alice", node="n1")

    assert "/home → /home  nosuid,nodev  (site)" in done.stdout, done.stderr


def test_root_is_told_to_be_somebody(cluster: Cluster) -> None:
    done = cluster.run([*RUN, "--", "true"], user="root", node="n1")

    assert done.returncode == 125
    assert "root's images belong to the service user 'hpcbox' — run containers as a user" in (
        done.stderr
    )


@pytest.mark.parametrize(
    ("switch", "value", "request_to"),
    [
        (None, "", "allow unprivileged user namespaces"),
        ("user/max_user_namespaces", "0", "set user.max_user_namespaces to 10000"),
    ],
)
def test_where_user_namespaces_are_refused_it_says_what_to_ask_for(
    cluster: Cluster, switch: str | None, value: str, request_to: str
) -> None:
    forbid = (
        "import os, sys; from tests.services.seccomp import forbid_user_namespaces as forbid;"
        "forbid(); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    show = f"echo {value} >/tmp/switch && mount --bind /tmp/switch /proc/sys/{switch} && "
    script = f'{show if switch else ""}exec /usr/bin/python3 -c "$@"'
    cluster.run(["hpcbox", "pull", IMAGE], user="bob", node="n1", check=True)

    words = ("sh", forbid, *AS_BOB, *RUN, "--", "true")
    done = as_root(cluster, 'exec unshare --mount sh -c "$@"', script, *words)

    assert done.returncode == 125
    assert "this node refuses user namespaces: unshare: Operation not permitted" in done.stderr
    assert f"ask the administrator of n1 to {request_to}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_where_parts_of_proc_are_hidden_the_nodes_proc_is_shown_and_that_is_said(
    cluster: Cluster,
) -> None:
    cluster.run(["hpcbox", "pull", IMAGE], user="bob", node="n1", check=True)
    script = 'mount -t tmpfs none /proc/sys/kernel && exec "$@"'

    inside = "echo alive; test -d /proc/self/fd && ls /proc/sys/kernel"
    words = ("sh", *AS_BOB, *RUN, "--", "sh", "-c", inside)

    done = as_root(cluster, 'exec unshare --mount sh -c "$@"', script, *words)

    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
    assert "/proc in the container is this node's" in done.stderr


def test_a_store_that_somebody_else_prepared_is_not_believed(cluster: Cluster) -> None:
    prepared = "test -d /tmp/trap || cp -a /tmp/hpcbox-2001 /tmp/trap"
    cluster.run(["sh", "-c", prepared], user="alice", node="n1", check=True)
    cluster.run(["chmod", "-R", "a+rX", "/tmp/trap"], user="alice", node="n1", check=True)

    done = cluster.run(
        [*RUN, "--", "true"], user="bob", node="n1", env={"HPCBOX_STORE": "/tmp/trap"}
    )

    assert done.returncode == 125
    assert "store /tmp/trap is not a folder that belongs to uid 2002 alone" in done.stderr

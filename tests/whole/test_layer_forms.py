"""Jobs on layers of each form that a site's store can have, on a real cluster, as alice."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.services import leaning_images
from tests.services.commands import wait_until
from tests.whole.asking import IMAGE, check_refused, srun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab

NODE = "n2"
STORE = "/var/lib/hpcbox"
LOOK = """
id -u
stat -c '%u %g %a' /etc/private; cat /etc/private
stat -c %a /etc/setuid /tmp
readlink /bin
/bin/tool
[ $(stat -c %i /data/one) = $(stat -c %i /data/again) ] && wc -c < /data/again
ls /old /data
test -e /gone || echo gone
echo written > /etc/private && echo more >> /data/one && cat /etc/private
"""
SEEN = """2001
2001 2001 600
mine
755
1777
usr/bin
a tool
9000
/data:
again
one

/old:
new
gone
written
"""


@contextmanager
def site_setting(cluster: Cluster, name: str, value: str) -> Iterator[None]:
    """Give the node another compiled setting."""
    own, site = "/run/own-settings.json", "/etc/hpcbox/settings.json"
    change = (
        f"import json; table = json.load(open('{site}')); table['{name}'] = '{value}'; "
        f"json.dump(table, open('{own}', 'w'))"
    )
    script = f'/usr/bin/python3 -c "{change}" && mount --bind {own} {site}'
    cluster.run(["sh", "-c", script], user="root", node=NODE, check=True)
    try:
        yield
    finally:
        cluster.run(["sh", "-c", f"umount {site}; rm {own}"], user="root", node=NODE, check=True)


def empty_store(cluster: Cluster) -> None:
    """Remove all images of the node, so that layers are made anew."""
    cluster.run(["hpcbox", "rm", "--all"], user="root", node=NODE)


def forms(cluster: Cluster) -> list[tuple[str, ...]]:
    """What each layer in the node's store is made of, without its record."""
    layers = cluster.file(NODE, STORE) / "layers"
    return sorted(
        tuple(sorted(one.name for one in layer.iterdir() if one.name != "layer.json"))
        for layer in layers.iterdir()
    )


def loops(cluster: Cluster) -> int:
    """How many loop devices show files of the node's store."""
    device = (cluster.file(NODE, STORE)).stat().st_dev
    shown = subprocess.run(
        ["losetup", "--noheadings", "--list", "--output", "BACK-MAJ:MIN"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return shown.stdout.split().count(f"{os.major(device)}:{os.minor(device)}")


@pytest.fixture
def images(cluster: Cluster, odd_registry: str) -> Iterator[str]:
    """The registry of the images, and a store of the node that is empty before and after."""
    empty_store(cluster)
    yield odd_registry
    empty_store(cluster)


@pytest.mark.parametrize(
    ("sink", "form", "settled"),
    [
        ("auto", ("data.1", "image.erofs"), ("data.1", "data.2", "image.erofs")),
        ("index", ("data.1", "image.erofs"), ("data.1", "data.2", "image.erofs")),
        ("erofs", ("image.erofs",), ("data.1", "data.2", "image.erofs")),
        ("squashfs", ("image.squashfs",), ("image.squashfs",)),
        ("directory", ("fs",), ("fs",)),
    ],
)
def test_a_job_sees_the_same_image_in_each_form(
    cluster: Cluster, images: str, sink: str, form: tuple[str, ...], settled: tuple[str, ...]
) -> None:
    with site_setting(cluster, "sink", sink):
        first = srun(cluster, "-w", NODE, f"--container={images}/leaning:1", "sh", "-c", LOOK)
        again = srun(cluster, "-w", NODE, f"--container={images}/leaning:1", "sh", "-c", LOOK)

    assert (first.returncode, first.stdout) == (0, SEEN), first.stderr
    assert (again.returncode, again.stdout) == (0, SEEN), again.stderr
    # Three layers, and what the second one became on the first.
    assert forms(cluster) == sorted([form, form, form, settled])


def test_layers_of_several_forms_make_one_image(cluster: Cluster, images: str) -> None:
    with site_setting(cluster, "sink", "directory"):
        srun(cluster, "-w", NODE, f"--container={images}/base:1", "true")

    done = srun(cluster, "-w", NODE, f"--container={images}/leaning:1", "sh", "-c", LOOK)

    assert (done.returncode, done.stdout) == (0, SEEN), done.stderr
    assert ("fs",) in forms(cluster)
    assert ("data.1", "image.erofs") in forms(cluster)


def test_an_administrators_pull_makes_what_jobs_make(cluster: Cluster, images: str) -> None:
    cluster.run(["hpcbox", "pull", f"{images}/base:1"], user="root", node=NODE, check=True)

    assert forms(cluster) == [("data.1", "image.erofs")]


def test_an_image_of_127_layers_runs(cluster: Cluster, images: str) -> None:
    done = srun(cluster, "-w", NODE, f"--container={images}/many:1", "sh", "-c", "ls /many | wc -l")

    assert (done.returncode, done.stdout) == (0, f"{leaning_images.MANY - 1}\n"), done.stderr
    assert len(forms(cluster)) == leaning_images.MANY


@pytest.mark.parametrize("sink", ["index", "erofs"])
def test_a_store_in_memory_is_mounted_by_loop_devices_that_go_with_the_step(
    cluster: Cluster, images: str, sink: str
) -> None:
    memory = ["mount", "-t", "tmpfs", "-o", "mode=0700,uid=hpcbox,gid=hpcbox", "memory", STORE]
    cluster.run(memory, user="root", node=NODE, check=True)
    try:
        with site_setting(cluster, "sink", sink):
            words = ["srun", "-w", NODE, "--job-name=looped", f"--container={images}/leaning:1"]
            with cluster.start([*words, "sh", "-c", LOOK + "sleep 100"]) as step:
                assert step.stdout is not None
                seen = b"".join(step.stdout.readline() for _ in SEEN.splitlines())
                during = loops(cluster)
                cluster.run(["scancel", "--name=looped"], check=True)
                step.communicate(timeout=30)
        cluster.wait_idle(timeout_seconds=10)
        wait_until(lambda: loops(cluster) == 0, timeout_seconds=10, what="no loop device is left")
    finally:
        cluster.run(["umount", STORE], user="root", node=NODE, check=True)

    assert seen.decode() == SEEN
    # Index: three layers, one of them settled with what it took from below; else an image each.
    assert during == (7 if sink == "index" else 5)


def test_a_form_that_the_node_cannot_mount_is_named(cluster: Cluster, images: str) -> None:
    with site_setting(cluster, "sink", "tape"):
        done = srun(cluster, "-w", NODE, f"--container={images}/base:1", "true")

    check_refused(done, "this node can't mount layers of the form 'tape'")


def test_a_damaged_layer_is_an_error_of_one_line(cluster: Cluster, images: str) -> None:
    image = f"--container={images}/base:1"
    srun(cluster, "-w", NODE, image, "true")
    damage = f"for file in {STORE}/layers/*/image.erofs; do : > $file; done"
    cluster.run(["sh", "-c", damage], user="root", node=NODE, check=True)

    done = srun(cluster, "-w", NODE, image, "true")

    line = check_refused(done, "cannot mount a layer")
    assert len(line) <= 600


def test_a_user_keeps_folders_in_a_store_of_their_own(cluster: Cluster) -> None:
    cluster.run(["hpcbox", "pull", IMAGE], user="bob", node=NODE, check=True)

    done = cluster.run(
        [
            "sh",
            "-c",
            "hpcbox run --image $1 -- true && cd /tmp/hpcbox-$(id -u)/layers && ls -d */fs",
        ]
        + ["sh", IMAGE],
        user="bob",
        node=NODE,
    )
    cluster.run(["sh", "-c", "rm -r /tmp/hpcbox-$(id -u)"], user="bob", node=NODE, check=True)

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2

"""What users and tests find inside a lab."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.services import accounts, images, leftovers, registry_log
from tests.services.commands import wait_until
from tests.services.failure import LabError
from tests.services.slurm import Cluster
from tests.services.spec import REGISTRY, cache_root

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

FETCH = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Accept": sys.argv[2]})
sys.stdout.write(urllib.request.urlopen(request).headers["Docker-Content-Digest"])
"""
START_UPLOAD = """
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=b"", method="POST"))
"""
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json,"
    "application/vnd.docker.distribution.manifest.v2+json"
)


def test_alice_runs_a_step_on_three_nodes(plain_cluster: Cluster) -> None:
    done = plain_cluster.run(["srun", "-N3", "sh", "-c", "id -un; hostname"], user="alice")

    assert sorted(done.stdout.split()) == ["alice", "alice", "alice", "n1", "n2", "n3"]


def test_tasks_are_bound_to_the_two_cpus_of_a_node(plain_cluster: Cluster) -> None:
    done = plain_cluster.run(["srun", "-N1", "-n2", "sh", "-c", "nproc"], check=True)

    assert done.stdout.split() == ["1", "1"]


def test_the_exit_code_of_a_command_is_passed_on(plain_cluster: Cluster) -> None:
    assert plain_cluster.run(["sh", "-c", "exit 42"]).returncode == 42
    assert plain_cluster.run(["srun", "sh", "-c", "exit 43"]).returncode == 43


def test_stdin_reaches_the_command(plain_cluster: Cluster) -> None:
    assert plain_cluster.run(["srun", "cat"], input="hello").stdout == "hello"


def test_a_command_ends_with_the_process_that_waits_for_it(plain_cluster: Cluster) -> None:
    started = plain_cluster.start(["sh", "-c", "echo on; exec sleep 987"])
    assert started.stdout is not None
    assert started.stdout.readline() == b"on\n"

    started.kill()
    started.communicate()

    wait_until(
        lambda: "sleep 987" not in str(leftovers.cluster_snapshot(plain_cluster)),
        timeout_seconds=5,
        what="the command is gone",
    )


def test_alice_reaches_every_node_by_ssh(plain_cluster: Cluster) -> None:
    for node in plain_cluster.node_names:
        hop = ["ssh", "-o", "BatchMode=yes", node, "ssh -o BatchMode=yes ctl hostname; hostname"]
        assert plain_cluster.run(hop).stdout.split() == ["ctl", node]


def test_bob_is_not_let_in_as_alice(plain_cluster: Cluster) -> None:
    done = plain_cluster.run(["ssh", "-o", "BatchMode=yes", "alice@n1", "true"], user="bob")

    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_home_and_srv_are_shared_and_tmp_is_not(plain_cluster: Cluster) -> None:
    plain_cluster.run(["sh", "-c", "echo x > ~/seen; echo x > /tmp/unseen"], node="n1", check=True)

    try:
        assert plain_cluster.run(["ls", "/home/alice/seen"], node="n2").returncode == 0
        assert plain_cluster.run(["ls", "/tmp/unseen"], node="n2").returncode != 0
    finally:
        plain_cluster.run(["rm", "/home/alice/seen", "/tmp/unseen"], node="n1")


def test_each_node_has_a_store_on_disk_that_only_the_service_user_may_enter(
    plain_cluster: Cluster,
) -> None:
    store = plain_cluster.file("n1", "/var/lib/hpcbox").stat()
    other = plain_cluster.file("n2", "/var/lib/hpcbox").stat()

    assert (store.st_uid, store.st_mode & 0o7777) == (accounts.SERVICE.uid, 0o700)
    assert store.st_ino != other.st_ino
    assert store.st_dev == cache_root().stat().st_dev


def test_the_markers_tell_host_from_image(plain_cluster: Cluster) -> None:
    for machine in plain_cluster.spec.machines:
        assert plain_cluster.file(machine, "/etc/hpcbox-lab-host").exists()
        assert not plain_cluster.file(machine, "/etc/hpcbox-lab-image").exists()
    assert not Path("/etc/hpcbox-lab-host").exists()


def test_the_host_knows_no_alice(plain_cluster: Cluster) -> None:
    assert plain_cluster.run(["id", "-u", "alice"]).stdout == "2001\n"
    assert "alice:" not in Path("/etc/passwd").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["debian", "mpich", "mpich42", "openmpi4", "openmpi5", "static"])
def test_the_registry_serves_the_image(plain_cluster: Cluster, name: str) -> None:
    url = f"http://{REGISTRY}/v2/{name}/manifests/1"

    done = plain_cluster.run(
        ["/usr/bin/python3", "-c", FETCH, url, MANIFEST_TYPES], node="n3", check=True
    )

    assert done.stdout == images.digest(name)
    assert f"GET /v2/{name}/manifests/1 200" in registry_log.requests(plain_cluster)


def test_what_is_pushed_in_a_lab_stays_in_that_lab(plain_cluster: Cluster) -> None:
    upload = f"http://{REGISTRY}/v2/pushed/blobs/uploads/"
    plain_cluster.run(["/usr/bin/python3", "-c", START_UPLOAD, upload], check=True)

    assert plain_cluster.file(
        "ctl", "/var/lib/docker-registry/docker/registry/v2/repositories/pushed"
    ).exists()
    assert not (images.storage() / "docker/registry/v2/repositories/pushed").exists()


def test_slurmd_restarts_under_a_running_job(plain_cluster: Cluster) -> None:
    job = plain_cluster.start(["srun", "-w", "n2", "sh", "-c", "echo on; read line; echo $line"])
    assert job.stdout is not None
    assert job.stdout.readline() == b"on\n"

    plain_cluster.restart_slurmd("n2")

    assert job.communicate(b"still there\n", timeout=20)[0] == b"still there\n"
    plain_cluster.wait_idle()


def test_the_plugin_can_be_missing_on_one_node() -> None:
    cluster = Cluster(nodes=2, name=f"part{os.getpid()}", plugin_missing_on=["n2"])

    with cluster:
        lines = {
            machine: cluster.file(machine, "/etc/slurm/plugstack.conf").read_text(encoding="utf-8")
            for machine in cluster.spec.machines
        }

    assert lines["n2"] == ""
    assert lines["n1"] == lines["ctl"]
    assert lines["n1"].startswith("required hpcbox.so python=/opt/hpcbox/bin/python3 prefix=/opt/")


def test_hpcbox_is_installed_where_only_root_can_write() -> None:
    with Cluster(nodes=1, name=f"inst{os.getpid()}") as cluster:
        version = cluster.run(["hpcbox", "--version"], check=True)
        written = cluster.run(["touch", "/opt/hpcbox/new"], user="root", node="n1")
        loose = cluster.run(
            ["find", "/opt/hpcbox/", "-not", "-type", "l", "-perm", "/022"], user="root", check=True
        )
        settings = cluster.run(["cat", "/etc/hpcbox/settings.json"], node="n1", check=True)

    assert version.stdout.startswith("hpcbox ")
    assert "Read-only file system" in written.stderr
    assert loose.stdout == ""
    assert f'"{REGISTRY}"' in settings.stdout


@pytest.fixture(scope="module")
def wide_cluster() -> Iterator[Cluster]:
    """Two wide nodes below which no user namespace can be made."""
    name = f"wide{os.getpid()}"
    cluster = Cluster(nodes=2, profile="wide", name=name, plugin=False, slurmd_seccomp=True)
    with cluster:
        yield cluster


def test_a_wide_node_takes_sixteen_tasks(wide_cluster: Cluster) -> None:
    done = wide_cluster.run(["srun", "-N2", "-n32", "hostname"], check=True)

    assert sorted(done.stdout.split()) == ["n1"] * 16 + ["n2"] * 16


def test_user_namespaces_can_be_switched_off_below_slurmd(wide_cluster: Cluster) -> None:
    outside = wide_cluster.run(["unshare", "--user", "true"], node="n1")
    inside = wide_cluster.run(["srun", "-N1", "unshare", "--user", "true"])

    assert outside.returncode == 0
    assert "Operation not permitted" in inside.stderr


def test_a_command_can_have_a_terminal(plain_cluster: Cluster) -> None:
    control, terminal = pty.openpty()
    with subprocess.Popen(
        plain_cluster.command(["srun", "--pty", "sh", "-c", "test -t 0 && tty"]),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as running:
        os.close(terminal)
        said = read_terminal(control, seconds=20)
        assert running.wait(timeout=20) == 0

    assert "/dev/pts/" in said


def read_terminal(control: int, seconds: float) -> str:
    """All that is written to a terminal until its last user closes it."""
    said = b""
    deadline = time.monotonic() + seconds
    while select.select([control], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            said += os.read(control, 1024)
        except OSError:  # EIO: nobody holds the other side any more
            break
    os.close(control)
    return said.decode(errors="replace")


def test_an_unknown_user_or_machine_is_refused(plain_cluster: Cluster) -> None:
    with pytest.raises(LabError, match="no user carol"):
        plain_cluster.run(["true"], user="carol")
    with pytest.raises(LabError, match="no machine n9"):
        plain_cluster.run(["true"], node="n9")

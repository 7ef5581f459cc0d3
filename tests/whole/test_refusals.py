"""Bad input on a real cluster, as alice: one clear line, the right code, idle clean nodes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.services.slurm import Cluster
from tests.whole.asking import IMAGE, check_refused, srun

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

REG = "10.77.0.1:5000"
PLUGIN = "/usr/lib/x86_64-linux-gnu/slurm-wlm/hpcbox.so"


def test_an_image_that_does_not_exist_ends_with_125_and_the_nodes_stay_idle(
    cluster: Cluster,
) -> None:
    check_refused(srun(cluster, f"--container={REG}/nope:1", "true"), "nope:1")

    assert cluster.idle_nodes() == set(cluster.node_names)


def test_sbatch_refuses_an_image_that_does_not_exist_at_once(cluster: Cluster) -> None:
    done = cluster.run(["sbatch", f"--container={REG}/nope:1", "--wrap=srun true"])

    check_refused(done, "nope:1")
    assert done.stdout == ""


def test_a_registry_that_nobody_reaches_is_named_with_the_node(cluster: Cluster) -> None:
    line = check_refused(
        srun(cluster, "-w", "n2", "--container=10.77.0.1:5999/debian:1", "true"), "10.77.0.1:5999"
    )

    assert line.startswith("hpcbox: n2: ")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("", "empty"),
        (f"{REG}/UPPER:1", "UPPER"),
        (f"{REG}/debian:1@sha256:abc", "sha256:abc"),
        ("a;touch /tmp/owned", "a;touch"),
        ("$(touch /tmp/owned)", "touch"),
        ("`touch /tmp/owned`", "touch"),
        (f"{REG}/debian:1\nx", "newline"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "UTF-8"),
        ("x" * 65536, "longer than"),
        ("../../etc/passwd", "etc/passwd"),
    ],
)
def test_a_wrong_reference_is_refused_before_anything_starts(
    cluster: Cluster, reference: str, reason: str
) -> None:
    done = srun(cluster, f"--container-image={reference}", "true")

    check_refused(done, reason)
    assert not cluster.file("ctl", "/tmp/owned").exists()


@pytest.mark.parametrize("option", ["--container-mounts", "--container-workdir", "--container-env"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("/a\nb", "newline"),
        ("x" * 65536, "longer than"),
        (b"/\xff".decode("utf-8", "surrogateescape"), "UTF-8"),
        ("", "empty"),
    ],
)
def test_a_wrong_value_names_its_option(
    cluster: Cluster, option: str, value: str, reason: str
) -> None:
    done = srun(cluster, f"--container={IMAGE}", f"{option}={value}", "true")

    assert option in check_refused(done, reason)


def test_shell_characters_are_just_characters(cluster: Cluster) -> None:
    folder = "a b;$(id)`id`'\"&|"
    cluster.run(["mkdir", "-p", folder], check=True)
    done = srun(
        cluster, f"--container={IMAGE}", f"--container-mounts=/home/alice/{folder}:/in/{folder}",
        "ls", "/in",
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, folder + "\n"), done.stderr


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("/missing:/x", "No such file or directory"),
        ("/etc/shadow:/proc/x", "nothing may be mounted over /proc"),
        ("/tmp:/", "nothing may be mounted over /"),
        ("/tmp:/dev", "nothing may be mounted over /dev"),
        ("/tmp:/a/../proc", "climbs with"),
        ("/tmp:relative", "not an absolute path"),
        ("/root/x:/x", "Permission denied"),
        ("/tmp:/x:shiny", "unknown flag 'shiny'"),
        ("/tmp:/etc/passwd", "has a file there"),
        ("/etc/hostname:/usr", "has a folder there"),
    ],
)
def test_a_mount_that_cannot_be_made_is_named_with_the_node(
    cluster: Cluster, mount: str, reason: str
) -> None:
    done = srun(cluster, "-w", "n3", f"--container={IMAGE}", f"--container-mounts={mount}", "true")

    assert check_refused(done, reason).startswith("hpcbox: n3: ")


def test_a_mount_target_that_a_symlink_of_the_root_leads_to_proc_is_refused(
    cluster: Cluster,
) -> None:
    """The image's symlinks are resolved inside the root: /var/run leads to /run, and so on."""
    cluster.run(["sh", "-c", "mkdir -p trap && ln -sfn /proc trap/link"], check=True)
    done = srun(
        cluster, f"--container={IMAGE}",
        "--container-mounts=/home/alice/trap:/trap,/tmp:/trap/link", "true",
    )  # fmt: skip

    check_refused(done, "leads to /proc")


def test_both_flags_with_different_images_are_refused(cluster: Cluster) -> None:
    done = srun(cluster, f"--container={IMAGE}", f"--container-image={REG}/mpich:1", "true")

    check_refused(done, "different images")


@pytest.mark.parametrize(
    "option",
    ["--container-name=x", "--container-save=/tmp/x", "--container-remap-root"]
    + ["--container-mount-home", "--container-entrypoint", "--container-readonly"],
)
def test_an_option_that_is_not_built_yet_is_refused_by_name(cluster: Cluster, option: str) -> None:
    done = srun(cluster, f"--container={IMAGE}", option, "true")

    check_refused(done, option.partition("=")[0])


def test_a_batch_job_in_which_no_step_ran_inside_fails_and_says_so(cluster: Cluster) -> None:
    done = cluster.run(
        ["sbatch", "--wait", "--output=nostep.out", f"--container={IMAGE}", "--wrap=true"],
        timeout_seconds=60,
    )
    output = cluster.run(["cat", "nostep.out"]).stdout

    assert done.returncode == 125, done.stderr
    assert "no step ran in it" in output
    assert "srun" in output


def test_a_batch_script_that_fails_by_itself_keeps_its_code(cluster: Cluster) -> None:
    done = cluster.run(
        ["sbatch", "--wait", "--output=own.out", f"--container={IMAGE}", "--wrap=exit 7"]
    )

    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize("daemon", ["hydra_pmi_proxy", "orted", "prted"])
def test_a_host_launchers_daemon_is_explained(cluster: Cluster, daemon: str) -> None:
    done = srun(cluster, f"--container={IMAGE}", f"/usr/bin/{daemon}")

    check_refused(done, daemon)


@pytest.fixture
def broken_installation(cluster: Cluster) -> Iterator[Cluster]:
    """Node n2 sees an own, empty folder instead of /opt/hpcbox/lib; undone at the end."""
    cluster.run(
        ["mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/opt/hpcbox/lib"],
        user="root", node="n2", check=True,
    )  # fmt: skip
    yield cluster
    cluster.run(["umount", "-l", "/opt/hpcbox/lib"], user="root", node="n2", check=True)


def test_a_missing_node_program_is_named(broken_installation: Cluster) -> None:
    done = srun(broken_installation, "-w", "n2", f"--container={IMAGE}", "true")

    assert check_refused(done, "node program").startswith("hpcbox: n2: ")


def test_a_node_program_that_others_can_write_is_not_executed(
    broken_installation: Cluster,
) -> None:
    folder = "/opt/hpcbox/lib/python3.11/site-packages/hpcbox"
    script = f"mkdir -p {folder} && echo 'x' > {folder}/node.py && chmod 0666 {folder}/node.py"
    broken_installation.run(["sh", "-c", script], user="root", node="n2", check=True)

    done = srun(broken_installation, "-w", "n2", f"--container={IMAGE}", "true")

    check_refused(done, "node.py")


def test_a_node_program_that_dies_is_told(broken_installation: Cluster) -> None:
    folder = "/opt/hpcbox/lib/python3.11/site-packages/hpcbox"
    script = (
        f"mkdir -p {folder} && touch {folder}/__init__.py && "
        f"echo 'import os; os.kill(os.getpid(), 9)' > {folder}/node.py"
    )
    broken_installation.run(["sh", "-c", script], user="root", node="n2", check=True)

    done = srun(broken_installation, "-w", "n2", f"--container={IMAGE}", "true")

    check_refused(done, "killed by signal 9")


def test_a_node_without_the_plugin_cannot_run_the_command_on_the_host() -> None:
    with Cluster(nodes=2, name="noplugin", plugin_missing_on=["n2"]) as cluster:
        ran = "touch /srv/shared/ran-on-$(hostname)"
        done = srun(cluster, "-N2", f"--container={IMAGE}", "sh", "-c", ran)
        files = cluster.run(["ls", "/srv/shared"]).stdout.split()
        cluster.wait_idle(timeout_seconds=15)

    assert done.returncode != 0
    assert "hpcbox-plugin-is-missing-on-this-node" in done.stderr
    assert "ran-on-n2" not in files


@pytest.fixture
def plugin_of_another_release(cluster: Cluster) -> Iterator[Cluster]:
    """Node n2's hpcbox.so says that it was built for another Slurm; undone at the end."""
    file = cluster.file("n2", PLUGIN)
    good = file.read_bytes()
    major_minor_micro = struct.pack("<I", 22 << 16 | 5 << 8 | 8)
    assert good.count(major_minor_micro) == 1
    other = good.replace(major_minor_micro, struct.pack("<I", 24 << 16 | 5 << 8 | 8))
    file.write_bytes(other)
    yield cluster
    file.write_bytes(good)


def test_a_plugin_built_for_another_release_lets_no_step_run_on_the_host(
    plugin_of_another_release: Cluster,
) -> None:
    """Slurm itself refuses such a plugin; `required` makes that an error of the step."""
    done = srun(
        plugin_of_another_release, "-w", "n2", f"--container={IMAGE}", "touch", "/home/alice/ran"
    )

    # srun 22.05 itself ends with 0 here.
    assert "Plugin initialization failed" in done.stderr
    assert not plugin_of_another_release.file("n2", "/home/alice/ran").exists()
    plugin_of_another_release.wait_idle(timeout_seconds=15)

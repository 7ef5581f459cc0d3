"""The main job and its relatives, for real: ranks in an image on three nodes, as alice."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.services.commands import wait_until
from tests.services.slurm import Cluster

if TYPE_CHECKING:
    from subprocess import CompletedProcess

pytestmark = pytest.mark.lab

REG = "10.77.0.1:5000"
HELLO = re.compile(
    r"^rank (\d+) size (\d+) node (\S+) marker (\S+) hostmarker (\S+) mntns (\d+)$", re.MULTILINE
)


def submit(
    cluster: Cluster, script: str, *options: str, env: dict[str, str] | None = None
) -> tuple[CompletedProcess[str], str]:
    """Run a batch job to its end; return sbatch's result and what the job printed."""
    name = f"job-{time.monotonic_ns()}"
    cluster.run(["tee", f"{name}.sh"], input=f"#!/bin/bash\n{script}\n", check=True)
    done = cluster.run(
        ["sbatch", "--wait", f"--output={name}.out", *options, f"{name}.sh"],
        timeout_seconds=120,
        env=env,
    )
    output = cluster.run(["sh", "-c", f"cat {name}.out {name}.out_* 2>/dev/null"]).stdout
    return done, output


def check_six_ranks(cluster: Cluster, output: str) -> None:
    """Six different ranks of six, all inside, one mount namespace a node, none slurmd's."""
    lines = HELLO.findall(output)
    assert sorted(int(rank) for rank, *_ in lines) == [0, 1, 2, 3, 4, 5], output
    assert {size for _, size, *_ in lines} == {"6"}
    assert {node for _, _, node, *_ in lines} == set(cluster.node_names)
    markers = {marker for *_, marker, _, _ in lines}
    assert len(markers) == 1
    assert re.fullmatch(r"[0-9a-f]{64}", markers.pop())
    assert {host for *_, host, _ in lines} == {"absent"}
    for node in cluster.node_names:
        inside = {inode for _, _, where, _, _, inode in lines if where == node}
        assert len(inside) == 1, f"one container on {node}"
        outside = cluster.run(["readlink", "/proc/1/ns/mnt"], user="root", node=node).stdout
        assert inside.pop() not in outside


def test_sbatch_runs_six_mpich_ranks_inside_the_image_on_three_nodes(cluster: Cluster) -> None:
    done, output = submit(
        cluster, "srun --mpi=pmi2 /opt/mpi/hello", f"--container={REG}/mpich:1", "-N3", "-n6"
    )

    assert done.returncode == 0, done.stderr + output
    check_six_ranks(cluster, output)


def test_sbatch_runs_six_open_mpi_ranks_by_pmix(cluster: Cluster) -> None:
    done, output = submit(
        cluster, "srun --mpi=pmix /opt/mpi/hello", f"--container={REG}/openmpi4:1", "-N3", "-n6"
    )

    assert done.returncode == 0, done.stderr + output
    check_six_ranks(cluster, output)


def test_srun_alone_runs_a_command_inside(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", f"--container={REG}/debian:1", "-N3", "sh", "-c"]
        + ["test -e /etc/hpcbox-lab-image && ! test -e /etc/hpcbox-lab-host && id -un"],
    )

    assert (done.returncode, done.stdout.split()) == (0, ["alice"] * 3), done.stderr


def test_container_image_is_the_same_for_srun(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", f"--container-image={REG}/debian:1", "test", "-e", "/etc/hpcbox-lab-image"]
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("variable", ["HPCBOX_CONTAINER_IMAGE", "PYXIS_CONTAINER_IMAGE"])
def test_the_image_may_come_from_the_environment(cluster: Cluster, variable: str) -> None:
    done = cluster.run(
        ["srun", "test", "-e", "/etc/hpcbox-lab-image"], env={variable: f"{REG}/debian:1"}
    )

    assert done.returncode == 0, done.stderr


def test_steps_of_an_allocation_run_inside(cluster: Cluster) -> None:
    done = cluster.run(
        ["salloc", f"--container={REG}/debian:1", "-N2", "srun"]
        + ["sh", "-c", "test -e /etc/hpcbox-lab-image && hostname"],
    )

    assert (done.returncode, sorted(done.stdout.split())) == (0, ["n1", "n2"]), done.stderr


def test_a_step_with_container_none_runs_on_the_host(cluster: Cluster) -> None:
    done, output = submit(
        cluster,
        "srun --container=none test -e /etc/hpcbox-lab-host && srun true && echo both",
        f"--container={REG}/debian:1",
    )

    assert (done.returncode, output.strip()) == (0, "both"), output


def test_a_steps_own_image_replaces_the_jobs(cluster: Cluster) -> None:
    done, output = submit(
        cluster,
        f"srun --container={REG}/mpich:1 test -x /opt/mpi/hello && "
        f"srun --container-image={REG}/mpich:1 test -x /opt/mpi/hello && "
        "srun sh -c '! test -e /opt/mpi/hello' && echo all",
        f"--container={REG}/debian:1",
    )

    assert (done.returncode, output.strip()) == (0, "all"), output


def test_container_image_runs_the_batch_script_itself_inside(cluster: Cluster) -> None:
    done, output = submit(
        cluster, "cat /etc/hpcbox-lab-image; pwd", f"--container-image={REG}/debian:1"
    )

    assert done.returncode == 0, output
    assert re.fullmatch(r"[0-9a-f]{64}\n/home/alice\n", output)


def test_stdin_reaches_the_task(cluster: Cluster) -> None:
    done = cluster.run(["srun", f"--container={REG}/debian:1", "cat"], input="through\n")

    assert (done.returncode, done.stdout) == (0, "through\n"), done.stderr


@pytest.mark.parametrize(("command", "code"), [("exit 42", 42), ("kill -SEGV $$", 139)])
def test_exit_codes_are_the_commands_own(cluster: Cluster, command: str, code: int) -> None:
    done = cluster.run(["srun", f"--container={REG}/debian:1", "sh", "-c", command])

    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        (["nope"], 127, "not found in image"),
        (["/nope/nope"], 127, "not found in image"),
        (["/etc/passwd"], 126, "not executable"),
        (["/etc"], 126, "not executable"),
    ],
)
def test_a_command_the_image_lacks_is_named(
    cluster: Cluster, command: list[str], code: int, reason: str
) -> None:
    done = cluster.run(["srun", f"--container={REG}/debian:1", *command])

    assert done.returncode == code, done.stderr
    assert reason in done.stderr
    assert f"{REG}/debian:1" in done.stderr


def test_an_image_without_a_shell_runs(cluster: Cluster) -> None:
    done = cluster.run(["srun", f"--container={REG}/static:1", "-N2", "/static"])

    assert done.returncode == 0, done.stderr


def test_each_task_of_multi_prog_runs_inside(cluster: Cluster) -> None:
    script = "test -e /etc/hpcbox-lab-image && echo task-$1\n"
    cluster.run(["tee", "inside.sh"], input=script, check=True)
    cluster.run(
        ["tee", "multi.conf"],
        input="0 sh -c 'test -e /etc/hpcbox-lab-image && echo zero'\n"
        "1-2 sh /home/alice/inside.sh %t\n",
        check=True,
    )
    done = cluster.run(
        ["srun", f"--container={REG}/debian:1", "-n3", "-N3", "--multi-prog", "multi.conf"]
    )

    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["task-1", "task-2", "zero"]


def test_a_pseudo_terminal_is_one_inside(cluster: Cluster) -> None:
    done = cluster.run(
        ["script", "-qec", f"srun --pty --container={REG}/debian:1 sh -c 'tty; test -t 0'"]
        + ["/dev/null"],
        env={"TERM": "xterm"},
    )

    assert done.returncode == 0, done.stdout
    assert "/dev/pts/" in done.stdout


def test_a_signal_reaches_the_ranks(cluster: Cluster) -> None:
    step = cluster.start(
        ["srun", f"--container={REG}/debian:1", "-N2", "--job-name=trap", "sh", "-c"]
        + ["trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.1; done"],
    )
    assert step.stdout is not None
    assert [step.stdout.readline(), step.stdout.readline()] == [b"ready\n"] * 2

    cluster.run(["scancel", "--signal=USR1", "--name=trap"], check=True)

    output, _ = step.communicate(timeout=30)
    assert output == b"caught\n" * 2
    assert step.returncode == 3


def test_scancel_ends_a_running_step(cluster: Cluster) -> None:
    step = cluster.start(
        ["srun", f"--container={REG}/debian:1", "-N3", "--job-name=long", "sh", "-c"]
        + ["echo ready; sleep 600"],
    )
    assert step.stdout is not None
    assert step.stdout.readline() == b"ready\n"

    cluster.run(["scancel", "--name=long"], check=True)

    step.communicate(timeout=20)
    cluster.wait_idle(timeout_seconds=10)


def test_each_task_of_an_array_runs_inside(cluster: Cluster) -> None:
    done, output = submit(
        cluster,
        "srun sh -c 'test -e /etc/hpcbox-lab-image && echo element-$SLURM_ARRAY_TASK_ID'",
        f"--container={REG}/debian:1",
        "--array=1-3",
        "--output=/home/alice/array-%A_%a.out",
    )
    output = cluster.run(["sh", "-c", "cat array-*.out; rm array-*.out"]).stdout

    assert done.returncode == 0, done.stderr
    assert sorted(output.split()) == ["element-1", "element-2", "element-3"]


def test_the_job_stays_inside_with_export_none(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", "--export=NONE", f"--container={REG}/debian:1"]
        + ["/usr/bin/test", "-e", "/etc/hpcbox-lab-image"],
    )

    assert done.returncode == 0, done.stderr


def test_a_job_without_a_container_is_left_alone(cluster: Cluster) -> None:
    done = cluster.run(["srun", "-N3", "test", "-e", "/etc/hpcbox-lab-host"])

    assert (done.returncode, done.stderr) == (0, "")


def test_the_tasks_hold_no_capability_and_cannot_gain_one(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", f"--container={REG}/debian:1", "grep", "-E", "^(Cap|NoNew)", "/proc/self/status"]
    )

    values = dict(line.split(":\t") for line in done.stdout.splitlines())
    assert values.pop("NoNewPrivs") == "1"
    del values["CapBnd"]
    assert set(values.values()) == {"0" * 16}


def test_the_tasks_have_no_descriptor_but_the_standard_three(cluster: Cluster) -> None:
    done = cluster.run(["srun", f"--container={REG}/debian:1", "ls", "/proc/self/fd"])

    # The fourth is the listing's own.
    assert done.stdout.split() == ["0", "1", "2", "3"]


def test_the_user_owns_the_root_and_may_write_it(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", f"--container={REG}/debian:1", "sh", "-c"]
        + [
            "stat -c %U / /etc/passwd /usr/bin/env && touch /new /usr/lib/new && rm /etc/os-release"
        ],
    )

    assert (done.returncode, set(done.stdout.split())) == (0, {"alice"}), done.stderr


def test_what_a_step_writes_in_the_root_is_gone_in_the_next(cluster: Cluster) -> None:
    done, output = submit(
        cluster,
        "srun touch /kept && srun sh -c 'test -e /kept || echo gone'",
        f"--container={REG}/debian:1",
    )

    assert (done.returncode, output.strip()) == (0, "gone")


def test_the_working_directory_is_the_jobs(cluster: Cluster) -> None:
    cluster.run(["mkdir", "-p", "/srv/shared/run"], check=True)
    done = cluster.run(["srun", f"--container={REG}/debian:1", "-N2", "pwd"], cwd="/srv/shared/run")

    assert done.stdout.split() == ["/srv/shared/run"] * 2


def test_container_workdir_wins(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", f"--container={REG}/debian:1", "--container-workdir=/usr/lib", "pwd"]
    )

    assert (done.returncode, done.stdout) == (0, "/usr/lib\n"), done.stderr


def test_folders_of_the_node_are_mounted_as_asked(cluster: Cluster) -> None:
    cluster.run(["sh", "-c", "mkdir -p data && echo there > data/file"], check=True)
    done = cluster.run(
        ["srun", f"--container={REG}/debian:1"]
        + ["--container-mounts=/home/alice/data:/in/data:ro,tmpfs:/scratch,/etc/hostname"]
        + ["sh", "-c"]
        + [
            "cat /in/data/file /etc/hostname; touch /in/data/x || echo ro; "
            "touch /scratch/y && df -t tmpfs /scratch >/dev/null && echo tmpfs"
        ]
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert lines[0] == "there"
    assert lines[-2:] == ["ro", "tmpfs"]


def test_the_images_path_stays_and_container_env_lets_the_host_win(cluster: Cluster) -> None:
    words = ["srun", f"--container={REG}/debian:1"]
    env = {"HPCBOX_LAB_VARIABLE": "host", "OWN": "host"}
    inside = cluster.run([*words, "sh", "-c", "echo $OWN $PATH"], env=env).stdout.split()

    assert inside[0] == "host"
    assert inside[1] != cluster.run(["sh", "-c", "echo $PATH"]).stdout.strip()


def test_a_mark_says_which_image_runs(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", f"--container={REG}/debian:1", "printenv", "HPCBOX_IMAGE_DIGEST", "HPCBOX_IMAGE"]
    )

    digest, reference = done.stdout.split()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert reference == f"{REG}/debian:1"


def test_sixteen_tasks_of_a_node_share_one_container(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", f"--container={REG}/debian:1", "-N1", "-n16", "--overcommit"]
        + ["readlink", "/proc/self/ns/mnt"],
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert (len(lines), len(set(lines))) == (16, 1)


def test_slurmd_restarts_while_a_step_runs_inside(cluster: Cluster) -> None:
    step = cluster.start(
        ["srun", f"--container={REG}/debian:1", "-w", "n2", "sh", "-c"]
        + ["echo ready; while ! test -e ~/go; do sleep 0.1; done; rm ~/go; echo end"],
    )
    assert step.stdout is not None
    assert step.stdout.readline() == b"ready\n"

    cluster.restart_slurmd("n2")
    cluster.run(["touch", "go"], check=True)

    output, errors = step.communicate(timeout=30)
    assert (step.returncode, output) == (0, b"end\n"), errors
    wait_until(lambda: "n2" in cluster.idle_nodes(), timeout_seconds=20, what="n2 is idle again")


def test_a_container_starts_where_user_namespaces_are_switched_off() -> None:
    """The layers can't be idmapped there, so they are stacked as they are on disk."""
    with Cluster(nodes=1, name="nousers", slurmd_seccomp=True) as cluster:
        done = cluster.run(
            ["srun", f"--container={REG}/debian:1", "sh", "-c"]
            + ["test -e /etc/hpcbox-lab-image && ! unshare -U true && id -u"],
        )

    assert (done.returncode, done.stdout) == (0, "2001\n"), done.stderr

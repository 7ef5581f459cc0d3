"""What ranks print under the plugin: kept in files first, then passed on; complete, in order."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from hpcbox.ranks import layout
from tests.services.commands import wait_until
from tests.whole.asking import errors_of_hpcbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab

IMAGE = "10.77.0.1:5000/debian:1"
WORK = "/srv/shared/output"
# 1,048,576 bytes of lines that differ, in one write, then the end.
PERL = '$d = join("", map { sprintf("%015d\\n", $_) } 0..65535); syswrite(STDOUT, $d)'
MEGABYTE = f"perl -e '{PERL}'"
MEGABYTE_DIGEST = hashlib.sha256(b"".join(b"%015d\n" % n for n in range(65536))).hexdigest()


@pytest.fixture
def work(cluster: Cluster) -> Iterator[Path]:
    """A shared working directory, as the host sees it; gone afterwards."""
    cluster.run(["rm", "-rf", WORK], check=True)
    cluster.run(["mkdir", WORK], check=True)
    yield cluster.file("ctl", WORK)
    cluster.run(["rm", "-rf", WORK], check=True)


def srun(
    cluster: Cluster, *words: str, cwd: str = WORK, timeout_seconds: float = 60
) -> CompletedProcess[str]:
    return cluster.run(
        ["srun", f"--container={IMAGE}", *words], cwd=cwd, timeout_seconds=timeout_seconds
    )


def only_folder(work: Path) -> Path:
    (folder,) = work.glob("hpcbox-*")
    return folder


def rank_bytes(folder: Path, rank: int, stream: int = layout.OUT) -> bytes:
    with open(layout.rank_file(str(folder), rank, stream), "rb") as file:
        return file.read()


def events(folder: Path, node: str) -> list[dict[str, object]]:
    with open(layout.events_file(str(folder), node), encoding="ascii") as file:
        return [json.loads(line) for line in file]


def processes_of_steps(cluster: Cluster, node: str) -> str:
    return cluster.run(["pgrep", "-f", "hpcbox[.]node"], user="root", node=node).stdout


def test_each_ranks_output_is_kept_and_passed_on(cluster: Cluster, work: Path) -> None:
    done = srun(cluster, "-N3", "-n3", "sh", "-c", "echo out $SLURM_PROCID; echo err >&2; exit 3")

    folder = only_folder(work)
    assert done.returncode == 3
    assert sorted(done.stdout.splitlines()) == ["out 0", "out 1", "out 2"]
    assert done.stderr.count("err\n") == 3
    for rank in range(3):
        assert rank_bytes(folder, rank) == b"out %d\n" % rank
        assert rank_bytes(folder, rank, layout.ERR) == b"err\n"


def test_a_folder_says_what_the_step_is(cluster: Cluster, work: Path) -> None:
    srun(cluster, "-N2", "-n2", "sh", "-c", "exit $SLURM_PROCID")

    folder = only_folder(work)
    with open(folder / layout.STEP_FILE, encoding="ascii") as file:
        step = json.load(file)
    assert (step["command"], step["tasks"], step["user"]) == (
        ["sh", "-c", "exit $SLURM_PROCID"],
        2,
        "alice",
    )
    assert (step["image"], step["launcher"], step["node_list"]) == (IMAGE, "srun", "n[1-2]")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", step["digest"])
    link = layout.registry_link("/home/alice", step["cluster"], step["job"], step["step"])
    target = cluster.run(["readlink", link], check=True).stdout.strip()
    assert target == f"{WORK}/{folder.name}"
    states = [event["state"] for event in events(folder, "n2")]
    assert (states[0], states[-3:]) == ("preparing", ["started", "exited", "ended"])
    assert [e["code"] for e in events(folder, "n2") if e["state"] == "exited"] == [1]


@pytest.mark.parametrize(
    "times", [10, pytest.param(250, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_ranks_that_print_a_megabyte_and_end_at_once_lose_nothing(
    cluster: Cluster, work: Path, times: int
) -> None:
    # The shared folder is memory, which counts as the job's: no step's files stay.
    script = (
        "#!/bin/bash\n"
        f"for i in $(seq {times}); do\n"
        "  srun -N2 -n4 --overcommit --output=out-%t --error=err perl megabyte || exit\n"
        "  sha256sum hpcbox-*/rank-*.out out-* >> sums && rm -r hpcbox-* out-*\n"
        "done\n"
    )
    cluster.run(["tee", f"{WORK}/megabyte"], input=PERL, check=True)
    cluster.run(["tee", f"{WORK}/job.sh"], input=script, check=True)

    done = cluster.run(
        ["sbatch", "--wait", "-N2", "--overcommit", "--output=log"]
        + [f"--container={IMAGE}", "job.sh"],
        cwd=WORK,
        timeout_seconds=60 + 3 * times,
    )

    assert done.returncode == 0, (work / "log").read_text()
    sums = [line.split()[0] for line in (work / "sums").read_text().splitlines()]
    assert sums == [MEGABYTE_DIGEST] * (2 * 4 * times)


def test_what_srun_prints_is_each_ranks_output_in_order(cluster: Cluster, work: Path) -> None:
    done = srun(cluster, "--label", "-N3", "-n3", "sh", "-c", MEGABYTE)

    assert done.returncode == 0
    for rank in range(3):
        lines = [line[3:] for line in done.stdout.splitlines() if line.startswith(f"{rank}: ")]
        assert lines == [f"{number:015}" for number in range(65536)]
        assert hashlib.sha256(rank_bytes(only_folder(work), rank)).hexdigest() == MEGABYTE_DIGEST


def test_output_files_of_slurm_are_written_as_without_a_spool(cluster: Cluster, work: Path) -> None:
    done = srun(cluster, "-n2", "--overcommit", "--output=to-%t", "sh", "-c", "echo $SLURM_PROCID")

    assert done.returncode == 0
    assert [(work / f"to-{rank}").read_text() for rank in range(2)] == ["0\n", "1\n"]


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        (["srun", "--pty"], "/dev/pts"),
        (["srun", "--unbuffered"], "/dev/pts"),
        (["srun", "--container-output=pass"], "pipe:"),
    ],
)
def test_output_is_not_kept_where_it_is_asked_not_to_be(
    cluster: Cluster, work: Path, command: list[str], seen: str
) -> None:
    line = " ".join([*command, f"--container={IMAGE}", "readlink", "/proc/self/fd/1"])
    done = cluster.run(["script", "-qec", line, "/dev/null"], cwd=WORK, env={"TERM": "xterm"})

    assert done.returncode == 0, done.stdout
    assert seen in done.stdout
    assert list(work.glob("hpcbox-*")) == []


def test_a_site_may_prefer_to_keep_no_output_and_a_user_to_have_it_kept(
    cluster: Cluster, work: Path
) -> None:
    own, site = "/run/own-settings.json", "/etc/hpcbox/settings.json"
    script = f'sed \'s/"spool"/"pass"/\' {site} > {own} && mount --bind {own} {site}'
    cluster.run(["sh", "-c", script], user="root", node="n1", check=True)
    try:
        passed = srun(cluster, "-w", "n1", "readlink", "/proc/self/fd/1")
        folders = list(work.glob("hpcbox-*"))
        kept = srun(cluster, "-w", "n1", "--container-output=spool", "echo", "kept")
    finally:
        cluster.run(["umount", site], user="root", node="n1", check=True)
        cluster.run(["rm", own], user="root", node="n1", check=True)

    assert (passed.returncode, errors_of_hpcbox(passed.stderr), folders) == (0, [], [])
    assert (kept.returncode, rank_bytes(only_folder(work), 0)) == (0, b"kept\n")


def test_a_value_of_container_output_is_checked(cluster: Cluster, work: Path) -> None:
    done = srun(cluster, "--container-output=maybe", "true")

    assert done.returncode == 125
    assert "is neither spool nor pass" in done.stderr
    assert list(work.glob("hpcbox-*")) == []


def test_a_background_child_does_not_hold_the_step(cluster: Cluster, work: Path) -> None:
    done = srun(cluster, "sh", "-c", "(sleep 600; echo late) & echo early")

    assert (done.returncode, done.stdout) == (0, "early\n")
    assert rank_bytes(only_folder(work), 0) == b"early\n"


def test_a_rank_may_close_its_stdout(cluster: Cluster, work: Path) -> None:
    done = srun(cluster, "sh", "-c", "echo one; exec 1>&-; echo two >&2")

    assert (done.returncode, done.stdout, done.stderr) == (0, "one\n", "two\n")
    assert rank_bytes(only_folder(work), 0, layout.ERR) == b"two\n"


def test_a_stopped_srun_does_not_stop_the_ranks(cluster: Cluster, work: Path) -> None:
    script = f"echo ready; until test -e go; do sleep 0.1; done; {MEGABYTE}; {MEGABYTE}; echo >&2"
    step = cluster.start(["srun", f"--container={IMAGE}", "sh", "-c", script], cwd=WORK)
    with step:
        assert step.stdout is not None
        assert step.stdout.readline() == b"ready\n"
        pid = pid_of_srun(cluster)
        os.kill(pid, signal.SIGSTOP)
        try:
            (work / "go").touch()
            wait_until(
                lambda: rank_bytes(only_folder(work), 0, layout.ERR) == b"\n",
                timeout_seconds=20,
                what="the rank has printed all of it",
            )
        finally:
            os.kill(pid, signal.SIGCONT)
            # nsenter stops itself when its child does.
            step.send_signal(signal.SIGCONT)
            output, errors = step.communicate(timeout=30)

    assert (step.returncode, len(output)) == (0, 2 * 2**20), errors
    assert hashlib.sha256(output[: 2**20]).hexdigest() == MEGABYTE_DIGEST
    assert output[2**20 :] == output[: 2**20]


def pid_of_srun(cluster: Cluster) -> int:
    """The pid, on this machine, of alice's srun; its second process is a helper of Slurm's."""
    found: list[int] = []

    def started() -> bool:
        group = f"hpcbox-{cluster.name}/"
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/comm", encoding="ascii") as comm:
                        name = comm.read().strip()
                    with open(f"/proc/{entry}/cgroup", encoding="ascii") as cgroup:
                        if name == "srun" and group in cgroup.read():
                            found.append(int(entry))
                except OSError:
                    continue
        return bool(found)

    wait_until(started, timeout_seconds=10, what="srun runs")
    return min(found)


def test_scancel_ends_a_step_whose_output_nobody_takes(cluster: Cluster, work: Path) -> None:
    step = cluster.start(
        ["srun", "--job-name=flood", f"--container={IMAGE}", "sh", "-c", "yes & sleep 600"],
        cwd=WORK,
    )
    with step:
        wait_until(
            lambda: any(path.stat().st_size > 2**24 for path in work.glob("*/rank-00000.out")),
            timeout_seconds=30,
            what="the rank has printed more than any pipe holds",
        )

        cluster.run(["scancel", "--name=flood"], check=True)

        cluster.wait_idle(timeout_seconds=15)
        wait_until(
            lambda: processes_of_steps(cluster, "n1") == "",
            timeout_seconds=10,
            what="the spool has gone",
        )
        step.communicate(timeout=30)


@pytest.mark.usefixtures("work")
def test_a_killed_spool_is_explained_and_leaves_nothing(cluster: Cluster) -> None:
    step = cluster.start(
        ["srun", "-w", "n1", f"--container={IMAGE}", "sh", "-c"]
        + ["echo ready; while :; do echo more; sleep 0.1; done"],
        cwd=WORK,
    )
    with step:
        assert step.stdout is not None
        assert step.stdout.readline() == b"ready\n"

        cluster.run(["pkill", "-9", "-f", "hpcbox[.]node"], user="root", node="n1", check=True)

        _, errors = step.communicate(timeout=30)
    assert step.returncode == 128 + signal.SIGPIPE
    assert b"keeps the output" in errors
    assert processes_of_steps(cluster, "n1") == ""


def test_a_full_disk_is_told_and_the_output_still_reaches_srun(cluster: Cluster) -> None:
    cluster.run(["mkdir", "-p", "/srv/shared/small"], check=True)
    for node in cluster.node_names:
        cluster.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k,uid=2001", "none", "/srv/shared/small"],
            user="root",
            node=node,
            check=True,
        )
    try:
        done = srun(
            cluster, "-w", "n1", "-D", "/srv/shared/small", "sh", "-c", MEGABYTE, cwd="/tmp"
        )
    finally:
        for node in cluster.node_names:
            cluster.run(["umount", "/srv/shared/small"], user="root", node=node, check=True)

    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout.encode()).hexdigest() == MEGABYTE_DIGEST
    assert done.stderr.count("hpcbox: n1: cannot keep the output") == 1
    assert "No space left" in done.stderr


def test_an_unwritable_working_directory_leads_to_the_node_local_folder(cluster: Cluster) -> None:
    done = srun(cluster, "-w", "n1", "-D", "/usr/lib", "echo", "kept", cwd="/usr/lib")
    local = layout.fallback_folder(2001)
    kept = cluster.run(["sh", "-c", f"cat {local}/hpcbox-*/rank-00000.out"], node="n1").stdout
    cluster.run(["rm", "-rf", "/tmp/hpcbox-2001"], user="root", node="n1")

    assert (done.returncode, done.stdout, kept) == (0, "kept\n", "kept\n")


def test_where_nothing_can_be_kept_the_job_runs_and_says_so_once(cluster: Cluster) -> None:
    cluster.run(["mkdir", "-m", "777", "/tmp/hpcbox-2001"], user="root", node="n1", check=True)
    done = srun(
        cluster, "-w", "n1", "-n2", "--overcommit", "-D", "/usr/lib", "echo", "seen", cwd="/usr/lib"
    )
    cluster.run(["rm", "-rf", "/tmp/hpcbox-2001"], user="root", node="n1")

    assert (done.returncode, done.stdout) == (0, "seen\n" * 2)
    assert done.stderr.count("hpcbox: n1: cannot keep the output of step") == 1


@pytest.mark.slow
def test_a_requeued_job_keeps_both_runs_apart(cluster: Cluster, work: Path) -> None:
    script = (
        "#!/bin/bash\nsrun echo run ${SLURM_RESTART_COUNT:-0}\n"
        '[ -n "$SLURM_RESTART_COUNT" ] || scontrol requeue $SLURM_JOB_ID\nsleep 1\n'
    )
    cluster.run(["tee", f"{WORK}/job.sh"], input=script, check=True)

    cluster.run(
        ["sbatch", "--requeue", f"--container={IMAGE}", "job.sh"],
        cwd=WORK,
        check=True,
    )

    def runs() -> dict[str, bytes]:
        return {path.parent.name[-2:]: path.read_bytes() for path in work.glob("*/rank-00000.out")}

    wait_until(
        lambda: sorted(runs().values()) == [b"run 0\n", b"run 1\n"],
        # Slurm lets a requeued job wait until its old credentials have expired: two minutes.
        timeout_seconds=240,
        what=lambda: f"both runs are kept: {runs()}",
    )
    assert [content for name, content in runs().items() if name == "-2"] == [b"run 1\n"]


@pytest.mark.usefixtures("work")
def test_ranks_of_an_mpi_program_that_would_each_be_alone_are_refused(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", "--container=10.77.0.1:5000/mpich:1", "--mpi=none", "-w", "n1", "-n2"]
        + ["--overcommit", "/opt/mpi/hello"],
        cwd=WORK,
    )

    assert done.returncode == 125
    assert done.stderr.count("each rank would believe to be alone") == 1
    assert "--mpi=pmi2" in done.stderr
    assert done.stdout == ""


@pytest.mark.usefixtures("work")
def test_ranks_of_an_mpi_program_that_a_script_starts_are_ended(cluster: Cluster) -> None:
    done = cluster.run(
        ["srun", "--container=10.77.0.1:5000/mpich:1", "--mpi=none", "-w", "n1", "-n2"]
        + ["--overcommit", "sh", "-c", "/opt/mpi/stall; true"],
        cwd=WORK,
    )

    assert done.returncode == 128 + signal.SIGKILL
    assert done.stderr.count("each rank would believe to be alone") == 1


@pytest.mark.usefixtures("work")
def test_one_rank_may_be_alone_and_more_if_that_is_wanted(cluster: Cluster) -> None:
    words = ["srun", "--container=10.77.0.1:5000/mpich:1", "--mpi=none", "--overcommit"]
    for tasks, env in (("1", {}), ("2", {"HPCBOX_SINGLETONS": "1"})):
        done = cluster.run([*words, f"-n{tasks}", "/opt/mpi/hello"], cwd=WORK, env=env)

        assert (done.returncode, done.stdout.count("rank 0 size 1")) == (0, int(tasks)), done.stderr

"""Ranks started over ssh, without plugin and without srun: alice, four nodes, real MPI."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.services.slurm import Cluster
from tests.whole.launched import AGENT, MPICH, REG, kill, launch, pids, stalled, words

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

HELLO = re.compile(
    r"^rank (\d+) size (\d+) node (\S+) marker (\S+) hostmarker (\S+) mntns (\d+)$", re.MULTILINE
)


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    """Four wide nodes without the plugin, which have the images already."""
    name = f"launch{os.getpid()}"
    with Cluster(nodes=4, profile="wide", plugin=False, name=name) as cluster:
        for image in (MPICH, f"{REG}/openmpi4:1"):
            done = launch(cluster, ["true"], image=image, tasks=4, mpi="env", step="pull")
            assert done.returncode == 0, done.stderr
        yield cluster


def check_ranks(cluster: Cluster, output: str, count: int) -> None:
    lines = HELLO.findall(output)
    assert sorted(int(rank) for rank, *_ in lines) == list(range(count)), output
    assert {size for _, size, *_ in lines} == {str(count)}
    assert {host for *_, host, _ in lines} == {"absent"}
    nodes = cluster.node_names[: min(count, 4)]
    for number, node in enumerate(nodes):
        here = [(int(rank), inode) for rank, _, where, _, _, inode in lines if where == node]
        share = count // len(nodes)
        assert sorted(rank for rank, _ in here) == list(range(number * share, (number + 1) * share))
        assert len({inode for _, inode in here}) == 1, f"one container on {node}"


@pytest.mark.parametrize("count", [1, 4, 16, pytest.param(64, marks=pytest.mark.slow)])
def test_mpich_ranks_find_each_other_inside_their_image(cluster: Cluster, count: int) -> None:
    mpi = "hydra" if count == 1 else "auto"

    done = launch(cluster, ["/opt/mpi/hello"], tasks=count, mpi=mpi, step=f"h{count}")

    assert done.returncode == 0, done.stderr
    check_ranks(cluster, done.stdout, count)


@pytest.mark.parametrize("count", [1, 4, 16, 64])
def test_ranks_without_mpi_get_their_place_by_variables(cluster: Cluster, count: int) -> None:
    script = (
        'echo "$RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $GROUP_RANK'
        " $MASTER_ADDR:$MASTER_PORT $SLURM_PROCID/$SLURM_NTASKS $SLURM_NODEID/$SLURM_NNODES"
        ' $(hostname)"'
    )

    done = launch(cluster, ["sh", "-c", script], tasks=count, mpi="env", step=f"e{count}")

    nodes, share = min(count, 4), max(count // 4, 1)
    address = cluster.spec.address("n1")
    ports = set(re.findall(rf"{re.escape(address)}:(\d+)", done.stdout))
    assert len(ports) == 1, done.stderr
    port = ports.pop()
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{rank}/{count} {rank % share}/{share} {rank // share} {address}:{port}"
        f" {rank}/{count} {rank // share}/{nodes} n{rank // share + 1}"
        for rank in range(count)
    )


def test_stdin_reaches_rank_0_through_hydra(cluster: Cluster) -> None:
    script = "sed s/^/$SLURM_PROCID:/"

    done = launch(cluster, ["sh", "-c", script], stdin="a\nb\n", tasks=4, step="in")

    assert (done.returncode, done.stdout) == (0, "0:a\n0:b\n")


def test_each_hydra_rank_s_output_is_kept_for_itself(cluster: Cluster) -> None:
    script = "echo out $PMI_RANK $SLURM_LOCALID; echo err $PMI_RANK >&2"

    launch(cluster, ["sh", "-c", script], tasks=8, step="kept")

    files = "cd ~/.local/state/hpcbox/local/7.kept/ && cat rank-00005.out rank-00006.err"
    assert cluster.run(["sh", "-c", files]).stdout == "out 5 1\nerr 6\n"


@pytest.mark.parametrize("mpi", ["hydra", "env"])
def test_the_first_failure_is_named_and_ends_all(cluster: Cluster, mpi: str) -> None:
    script = '[ "$SLURM_PROCID" != 5 ] || { echo no such grid >&2; exit 3; }; exec sleep 1000'

    done = launch(cluster, ["sh", "-c", script], tasks=8, mpi=mpi, step=f"f{mpi}")

    assert done.returncode == 3
    assert "hpcbox: rank 5 on n3 ended with exit code 3\nhpcbox:   | no such grid" in done.stderr


def test_mpi_abort_ends_all_with_its_code(cluster: Cluster) -> None:
    done = launch(cluster, ["/opt/mpi/stall", "7"], tasks=8, step="abort")

    assert done.returncode == 7
    assert "MPI_Abort(MPI_COMM_WORLD, 7)" in done.stderr


def test_open_mpi_is_refused_by_name(cluster: Cluster) -> None:
    done = launch(cluster, ["/opt/mpi/hello"], image=f"{REG}/openmpi4:1", tasks=4, step="ompi")

    assert done.returncode == 125
    assert "Open MPI" in done.stderr
    assert "--launcher=srun --mpi=pmix" in done.stderr


def test_ranks_that_would_each_be_alone_are_refused(cluster: Cluster) -> None:
    done = launch(cluster, ["/opt/mpi/hello"], tasks=4, mpi="none", step="alone")

    assert done.returncode == 125
    assert "each rank would believe to be alone" in done.stderr
    assert "rank 0" not in done.stdout


@pytest.mark.parametrize("mpi", ["hydra", "env"])
def test_a_missing_program_is_127(cluster: Cluster, mpi: str) -> None:
    done = launch(cluster, ["no-such-program"], tasks=4, mpi=mpi, step=f"m{mpi}")

    assert done.returncode == 127
    assert re.search("no-such-program: not found in (the )?image", done.stderr)


def test_ranks_run_on_the_host_without_an_image(cluster: Cluster) -> None:
    done = launch(
        cluster, ["cat", "/etc/hpcbox-lab-host"], image=None, tasks=4, mpi="env", step="host"
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4


def test_a_rank_that_is_killed_is_named(cluster: Cluster) -> None:
    with stalled(cluster, step="rank") as launcher:
        kill(cluster, "n2", pids(cluster, "n2", "-x", "stall")[0])

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 137
    assert re.search(rb"rank [23] on n2 was killed by signal 9", err), err


def test_a_rank_s_shell_that_is_killed_is_missed(cluster: Cluster) -> None:
    with stalled(cluster, step="shell") as launcher:
        kill(cluster, "n2", pids(cluster, "n2", "-f", "^/bin/sh /run/hpcbox/rank")[0])

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode != 0
    assert b"n2" in err or b"mpiexec" in err, err


def test_a_proxy_that_is_killed_is_named(cluster: Cluster) -> None:
    with stalled(cluster, step="proxy") as launcher:
        kill(cluster, "n3", pids(cluster, "n3", "-x", "hydra_pmi_proxy")[0])

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 137
    assert b"hydra's proxy on n3 was killed by signal 9" in err


def test_an_agent_that_is_killed_is_named(cluster: Cluster) -> None:
    with stalled(cluster, step="agent") as launcher:
        kill(cluster, "n4", pids(cluster, "n4", "-o", "-f", AGENT)[0])

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 125
    assert b"node n4: the agent is gone" in err


def test_a_keeper_that_is_killed_is_named(cluster: Cluster) -> None:
    with stalled(cluster, step="keeper") as launcher:
        agent = pids(cluster, "n4", "-o", "-f", AGENT)[0]
        keeper = min(pids(cluster, "n4", "-P", str(agent)))
        kill(cluster, "n4", keeper)

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 125
    assert b"node n4: the agent's keeper was killed" in err


def test_a_container_s_init_that_is_killed_is_named(cluster: Cluster) -> None:
    with stalled(cluster, step="init") as launcher:
        proxy = pids(cluster, "n4", "-x", "hydra_pmi_proxy")[0]
        parent = cluster.run(["ps", "-o", "ppid=", "-p", str(proxy)], user="root", node="n4")
        kill(cluster, "n4", int(parent.stdout))

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 125
    assert b"n4" in err, err


def test_an_ssh_session_that_is_killed_is_named(cluster: Cluster) -> None:
    with stalled(cluster, step="session") as launcher:
        kill(cluster, "n2", pids(cluster, "n2", "-f", "sshd: alice@notty")[0])

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 125
    assert b"node n2: the agent is gone" in err


def test_a_killed_ssh_server_changes_nothing(cluster: Cluster) -> None:
    with stalled(cluster, step="sshd") as launcher:
        kill(cluster, "n2", pids(cluster, "n2", "-f", "sshd: /usr/sbin/sshd")[0])
        cluster.run(["/usr/sbin/sshd"], user="root", node="n2", check=True)
        kill(cluster, "n1", pids(cluster, "n1", "-x", "stall")[0])

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 137
    assert b"on n1 was killed by signal 9" in err


@pytest.mark.parametrize(("name", "code"), [("KILL", -9), ("TERM", 143), ("HUP", 129)])
def test_nothing_outlives_its_launcher(cluster: Cluster, name: str, code: int) -> None:
    with stalled(cluster, step=f"l{name}") as launcher:
        kill(cluster, "ctl", pids(cluster, "ctl", "-o", "-f", "hpcbox.ranks.launch")[0], name)

        launcher.communicate(timeout=15)

    assert launcher.returncode == code


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_launch(cluster: Cluster, times: int) -> None:
    with stalled(cluster, step=f"c{times}") as launcher:
        pid = pids(cluster, "ctl", "-o", "-f", "hpcbox.ranks.launch")[0]
        for _ in range(times):
            kill(cluster, "ctl", pid, "INT")

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 130
    assert b"Ctrl-C again" in err


def test_ctrl_c_while_an_image_is_pulled_ends_the_pull(cluster: Cluster) -> None:
    command = words(cluster, ["true"], image=f"{REG}/mpich42:1", tasks=4, mpi="env", step="cp")
    with cluster.start(command) as launcher:
        assert launcher.stderr is not None
        assert b"pulling" in launcher.stderr.readline()
        pid = pids(cluster, "ctl", "-o", "-f", "hpcbox.ranks.launch")[0]
        kill(cluster, "ctl", pid, "INT")

        launcher.communicate(timeout=15)

    assert launcher.returncode == 130


@pytest.mark.slow
def test_a_cut_cable_is_noticed_on_both_ends(cluster: Cluster) -> None:
    with stalled(cluster, step="cable") as launcher:
        cluster.run(["ip", "link", "set", "n3", "down"], user="root", check=True)
        try:
            _, err = launcher.communicate(timeout=15)
            assert launcher.returncode == 125
            assert b"node n3 doesn't answer any more" in err
        finally:
            # The node's own side notices later: the fixture waits for it.
            cluster.run(["ip", "link", "set", "n3", "up"], user="root", check=True)


@pytest.mark.slow
def test_a_stopped_agent_is_ended_by_its_keeper(cluster: Cluster) -> None:
    with stalled(cluster, step="stop") as launcher:
        kill(cluster, "n2", pids(cluster, "n2", "-o", "-f", AGENT)[0], "STOP")

        _, err = launcher.communicate(timeout=15)

    assert launcher.returncode == 125
    assert b"node n2" in err

"""`hpcbox srun` in a cluster: by srun where the plugin is, over ssh where it isn't."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from hpcbox.ranks.srun_table import OPTIONS, Argument
from hpcbox.request.flags import FLAGS
from tests.services.commands import wait_until
from tests.services.slurm import Cluster

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

REG = Cluster.registry
HELLO = "/opt/mpi/hello"
HOME = "/home/alice/test-srun"
OWN_FOLDER = "/tmp/hpcbox-2001"
_LISTED = re.compile(r"^ {2}(?:-(\w),|  ) +--([a-z-]+)(\[?=)?", re.MULTILINE)


@pytest.fixture(scope="module")
def store(running_cluster: Cluster) -> Iterator[dict[str, str]]:
    """The variables of an alice who has pulled two images on the login host."""
    variables = {"HPCBOX_STORE": f"{HOME}/store", "XDG_CACHE_HOME": f"{HOME}/cache"}
    # What a user's first launch over ssh leaves on a node for the next ones.
    for node in running_cluster.node_names:
        running_cluster.run(["mkdir", "-m700", OWN_FOLDER], node=node, check=True)
    for name in ("mpich", "openmpi4"):
        running_cluster.run(
            ["hpcbox", "pull", "--quiet", f"{REG}/{name}:1"], env=variables, check=True
        )
    yield variables
    running_cluster.run(["rm", "-rf", HOME], check=True)
    for node in running_cluster.node_names:
        running_cluster.run(["rm", "-rf", OWN_FOLDER], node=node, check=True)


def srun(
    cluster: Cluster, *words: str, env: dict[str, str] | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    return cluster.run(["hpcbox", "srun", *words], env=env, input=text, timeout_seconds=90)


def explained(cluster: Cluster, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    done = srun(cluster, "--explain", "--json", *words, env=env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def sizes(output: str) -> set[str]:
    return {line.split()[3] for line in output.splitlines() if line.startswith("rank ")}


@pytest.mark.parametrize(("name", "mpi"), [("mpich", "pmi2"), ("openmpi4", "pmix")])
def test_srun_is_chosen_with_what_the_images_mpi_needs(
    cluster: Cluster, store: dict[str, str], name: str, mpi: str
) -> None:
    words = ("-N2", "-n4", f"--container={REG}/{name}:1", HELLO)

    table = explained(cluster, *words, env=store)
    done = srun(cluster, *words, env=store)

    assert (table["launcher"], table["mpi"]) == ("srun", mpi)
    assert table["command"][:3] == ["srun", f"--mpi={mpi}", f"--container-image={REG}/{name}:1"]
    assert (done.returncode, sizes(done.stdout)) == (0, {"4"}), done.stderr


def test_an_image_that_only_the_home_knows_is_known(
    cluster: Cluster, store: dict[str, str]
) -> None:
    elsewhere = {**store, "HPCBOX_STORE": f"{HOME}/other"}

    table = explained(cluster, "-n2", f"--container={REG}/mpich:1", HELLO, env=elsewhere)

    assert table["mpi"] == "pmi2"


def test_an_unknown_image_gets_the_sites_default_and_a_word_about_it(cluster: Cluster) -> None:
    nothing = {"HPCBOX_STORE": "/home/alice/none", "XDG_CACHE_HOME": "/home/alice/none"}

    done = srun(cluster, "-n1", f"--container={REG}/static:1", "/static", env=nothing)

    assert done.returncode == 0
    assert "isn't known here, so srun's default --mpi=none is used" in done.stderr
    assert f"'hpcbox pull {REG}/static:1'" in done.stderr


@pytest.mark.parametrize(
    ("mpi", "name", "right"),
    [("none", "mpich", "pmi2"), ("none", "openmpi4", "pmix"), ("pmi2", "openmpi4", "pmix")],
)
def test_a_pairing_that_computes_nothing_in_common_is_refused(
    cluster: Cluster, store: dict[str, str], mpi: str, name: str, right: str
) -> None:
    done = srun(cluster, "-n2", f"--mpi={mpi}", f"--container={REG}/{name}:1", HELLO, env=store)

    assert (done.returncode, done.stdout) == (125, "")
    assert f"use --mpi={right}" in done.stderr


def test_code_stdin_and_label_are_sruns_own(cluster: Cluster, store: dict[str, str]) -> None:
    image = f"--container={REG}/mpich:1"

    code = srun(cluster, "-n1", image, "sh", "-c", "exit 7", env=store)
    read = srun(cluster, "-ln1", image, "cat", env=store, text="words\n")
    missing = srun(cluster, "-n1", image, "no-such-command", env=store)

    assert (code.returncode, read.stdout, missing.returncode) == (7, "0: words\n", 127)


def test_a_step_of_a_job_takes_the_jobs_image(cluster: Cluster, store: dict[str, str]) -> None:
    script = f"hpcbox srun --explain --json {HELLO}; hpcbox srun {HELLO}; echo $? >{HOME}/code"
    cluster.run(
        ["sbatch", "-N2", "-n4", "--output=job.out", f"--container={REG}/mpich:1", "--wrap",
         script],
        env=store, cwd=HOME, check=True,
    )  # fmt: skip
    code = cluster.file("ctl", f"{HOME}/code")
    wait_until(code.exists, timeout_seconds=60, what="the job's script has ended")
    output = cluster.file("ctl", f"{HOME}/job.out").read_text(encoding="utf-8")

    table = json.JSONDecoder().raw_decode(output)[0]
    assert code.read_text(encoding="ascii") == "0\n", output
    assert (table["launcher"], table["mpi"], table["tasks"]) == ("srun", "pmi2", 4)
    assert table["nodes"] == ["n1", "n2"]
    assert table["command"] == ["srun", "--mpi=pmi2", HELLO]
    assert sizes(output) == {"4"}


@pytest.mark.usefixtures("store")
def test_without_an_allocation_salloc_gets_one_for_a_launch_over_ssh(cluster: Cluster) -> None:
    done = cluster.run(
        ["hpcbox", "srun", "--mpi=env", "-N3", "-Jx", "printenv", "RANK", "SLURMD_NODENAME"],
        cwd=HOME,
    )

    assert done.returncode == 0, done.stderr
    assert "Granted job allocation" in done.stderr
    assert set(done.stdout.split()) == {"0", "1", "2", "n1", "n2", "n3"}


def test_hpcbox_knows_all_options_of_this_srun(cluster: Cluster) -> None:
    listing = cluster.run(["srun", "--help"], check=True).stdout
    known = {option.name: option for option in OPTIONS}
    others = {flag.name for flag in FLAGS} | {"container", "help", "usage", "version"}

    listed = [found for found in _LISTED.findall(listing) if found[1] not in others]

    assert len(listed) > 90
    for letter, name, argument in listed:
        # `--cpu-bind=` stands there for a value, `--nice[=value]` for one that may be absent.
        assert known[name].short == letter, name
        if argument:
            assert known[name].argument is not Argument.NONE, name


@pytest.fixture
def without_plugin(cluster: Cluster, store: dict[str, str]) -> dict[str, str]:
    """The variables of an alice on a login host whose srun loads no plugin."""
    script = f"sed '$a PlugStackConfig=/dev/null' /etc/slurm/slurm.conf >{HOME}/slurm.conf"
    cluster.run(["sh", "-c", script], check=True)
    return {**store, "SLURM_CONF": f"{HOME}/slurm.conf"}


def test_without_the_plugin_ranks_start_over_ssh(
    cluster: Cluster, without_plugin: dict[str, str]
) -> None:
    words = ("-N2", "-n4", f"--container={REG}/mpich:1", HELLO)

    table = explained(cluster, *words, env=without_plugin)
    done = srun(cluster, *words, env=without_plugin)

    assert (table["launcher"], table["reason"]) == ("ssh", "srun has no plugin of hpcbox here")
    assert (done.returncode, sizes(done.stdout)) == (0, {"4"}), done.stderr


def test_without_the_plugin_open_mpi_is_refused_with_what_to_use(
    cluster: Cluster, without_plugin: dict[str, str]
) -> None:
    done = srun(cluster, "-n2", f"--container={REG}/openmpi4:1", HELLO, env=without_plugin)

    assert done.returncode == 125
    assert "can't start programs of Open MPI yet" in done.stderr
    assert "--launcher=srun --mpi=pmix" in done.stderr


def test_over_ssh_a_script_whose_ranks_would_each_be_alone_is_ended(
    cluster: Cluster, without_plugin: dict[str, str]
) -> None:
    code = "from mpi4py import MPI; import time; print(MPI.COMM_WORLD.size, flush=True)"
    words = ("--mpi=none", "-n2", f"--container={REG}/mpich42:1", "python3", "-c")

    done = srun(cluster, *words, f"{code}; time.sleep(60)", env=without_plugin)

    assert done.returncode == 125
    assert "this is a program of MPICH" in done.stderr
    assert "use --mpi=hydra" in done.stderr

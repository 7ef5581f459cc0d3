"""`hpcbox srun` on a machine without Slurm, and what its words mean; real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home and working directory, with a PATH that has no srun."""
    (tmp_path / "bin").mkdir()
    for name in ("echo", "cat", "false", "printenv"):
        (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
    return tmp_path


def srun(
    home: Path, *words: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpcbox", "srun", *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env={
            "PATH": str(home / "bin"),
            "HOME": str(home),
            "HPCBOX_STORE": str(home / "store"),
            **environment,
        },
        timeout=60,
    )


def test_without_slurm_ranks_run_on_this_machine(home: Path) -> None:
    done = srun(home, "-n2", "--mpi=env", "--label", "printenv", "RANK")

    assert (done.returncode, sorted(done.stdout.split("\n"))) == (0, ["", "0: 0", "1: 1"])


def test_the_reason_is_explained_for_people_and_programs(home: Path) -> None:
    text = srun(home, "--explain", "-n2", "echo", "hi")
    table = json.loads(srun(home, "--explain", "--json", "-n2", "echo", "hi").stdout)

    assert "launcher     local: there is no srun\n" in text.stdout
    assert (table["launcher"], table["tasks"], table["nodes"]) == (
        "local",
        2,
        [os.uname().nodename],
    )
    assert (table["command"], table["mpi"]) == (["echo", "hi"], "auto")


def test_the_variable_chooses_the_launcher_and_the_flag_wins(home: Path) -> None:
    chosen = srun(home, "echo", HPCBOX_LAUNCHER="srun")
    wrong = srun(home, "echo", HPCBOX_LAUNCHER="mpirun")
    overruled = srun(home, "--launcher=local", "echo", "hi", HPCBOX_LAUNCHER="srun")

    assert chosen.returncode == 125
    assert "srun can't be used: there is no srun — use --launcher=local" in chosen.stderr
    assert (wrong.returncode, "auto, srun, ssh or local" in wrong.stderr) == (125, True)
    assert (overruled.returncode, overruled.stdout) == (0, "hi\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cpu-bind=none", "echo"], "--launcher=local has no --cpu-bind"),
        (["--no-such", "echo"], "--no-such"),
        (["-N2", "echo"], "2 nodes were asked for"),
        (["-n0", "echo"], "--ntasks=0"),
        (["--mpi=pmi2", "echo"], "--launcher=local has no --mpi=pmi2"),
        (["-t", "soon", "echo"], "'soon' is no time"),
        (["-i", "missing", "echo"], "--input=missing can't be read"),
        (["-o", "3", "echo"], "has no --output=3"),
        (["--export==", "echo"], "no variable"),
        (["--json", "echo"], "--json goes with --explain"),
        (["-n2"], "no command was given"),
        (["--container=a", "--container-image=b", "echo"], "different images"),
    ],
)
def test_what_can_not_be_done_is_one_line_and_125(home: Path, words: list[str], says: str) -> None:
    done = srun(home, *words)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (125, "", 1)
    assert says in done.stderr


def test_the_commands_code_is_passed_on(home: Path) -> None:
    assert srun(home, "false").returncode == 1
    assert srun(home, "no-such-command").returncode == 127


def test_a_file_can_be_read_as_stdin(home: Path) -> None:
    (home / "words").write_text("from a file")

    assert srun(home, "-i", "words", "cat").stdout == "from a file"
    assert srun(home, "cat", stdin="from a pipe").stdout == "from a pipe"


def test_variables_are_exported_as_asked(home: Path) -> None:
    done = srun(home, "--export=A,B=2", "printenv", A="1", C="3")

    lines = done.stdout.splitlines()
    assert {"A=1", "B=2"} <= set(lines)
    assert not any(line.startswith(("C=", "HOME=")) for line in lines)


def test_each_launch_has_a_step_of_its_own(home: Path) -> None:
    srun(home, "echo", "a")
    srun(home, "echo", "b")

    assert {path.name for path in home.glob("hpcbox-*")} == {"hpcbox-local.0", "hpcbox-local.1"}


def test_a_program_whose_ranks_would_be_alone_is_refused(home: Path) -> None:
    source = home / "main.c"
    source.write_text("#include <mpi.h>\nint main(void) { return MPI_Init(0, 0); }\n")
    subprocess.run(["mpicc.mpich", "-o", home / "main", source], check=True)

    alone = srun(home, "--mpi=none", "-n2", "./main")
    single = srun(home, "--explain", "--mpi=none", "-n1", "./main")
    wanted = srun(home, "--explain", "--mpi=none", "-n2", "./main", HPCBOX_SINGLETONS="1")
    words = ("--explain", "--json", "--mpi=auto", "-n2", "./main")
    right = json.loads(srun(home, *words).stdout)

    assert alone.returncode == 125
    assert "this is a program of MPICH" in alone.stderr
    assert "use --mpi=hydra" in alone.stderr
    assert (single.returncode, wanted.returncode, right["mpi"]) == (0, 0, "hydra")


def test_help_shows_examples(home: Path) -> None:
    done = srun(home, "-n4", "--help")

    assert done.returncode == 0
    assert "hpcbox srun -N4 -n16 --container=" in done.stdout

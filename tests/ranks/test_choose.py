"""Which way ranks are started, and what is refused because it can't work."""

import re

import pytest

from hpcbox.cluster.srun_facts import SrunFacts
from hpcbox.errors import LaunchRefused, RequestError
from hpcbox.ranks.choose import Choice, Wanted, choose
from hpcbox.rootfs.mpi_library import MPICH, OPEN_MPI, PMI1, PMI2, PMIX

FULL = SrunFacts("", has_plugin=True, mpi_types=("none", "pmi2", "pmix"))
NO_PLUGIN = SrunFacts("", has_plugin=False, mpi_types=("none", "pmi2", "pmix"))
NO_PMIX = SrunFacts("", has_plugin=True, mpi_types=("none", "pmi2"))
NO_PMI = SrunFacts("", has_plugin=True, mpi_types=("none",))
NO_SLURM = SrunFacts("there is no srun")


def wanted(launcher: str = "auto", mpi: str = "", family: str = "", **more: object) -> Wanted:
    fields = {"image": "mpi:1", "product": family, **more}
    return Wanted(launcher, mpi, family=family, **fields)  # type: ignore[arg-type]


def mpich(**more: object) -> Wanted:
    return wanted(family=MPICH, pmi=(PMI1, PMI2), **more)  # type: ignore[arg-type]


def open_mpi(**more: object) -> Wanted:
    return wanted(family=OPEN_MPI, pmi=(PMIX,), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "srun", "launcher", "mpi"),
    [
        (mpich(), FULL, "srun", "pmi2"),
        (open_mpi(), FULL, "srun", "pmix"),
        (wanted(), FULL, "srun", ""),
        (wanted(image=""), NO_PLUGIN, "srun", ""),
        (mpich(image=""), NO_PLUGIN, "srun", "pmi2"),
        (mpich(), NO_PLUGIN, "ssh", "hydra"),
        (wanted(), NO_PLUGIN, "ssh", "auto"),
        (mpich(), NO_PMI, "ssh", "hydra"),
        (mpich(), NO_SLURM, "local", "hydra"),
        (wanted(), NO_SLURM, "local", "auto"),
        (mpich(in_allocation=True), NO_SLURM, "ssh", "hydra"),
        (mpich(mpi="env"), FULL, "ssh", "env"),
        (mpich(mpi="hydra"), FULL, "ssh", "hydra"),
        (mpich(mpi="none"), FULL, "srun", "none"),
        (mpich(mpi="none"), NO_PLUGIN, "ssh", "none"),
        (open_mpi(mpi="env"), NO_PLUGIN, "ssh", "env"),
        (mpich(launcher="ssh"), FULL, "ssh", "hydra"),
        (mpich(launcher="local"), FULL, "local", "hydra"),
        (mpich(launcher="srun", mpi="pmix"), FULL, "srun", "pmix"),
        # A build with the other kind too, on a site that has nothing else.
        (wanted(family=OPEN_MPI, pmi=(PMI2, PMIX)), NO_PMIX, "srun", "pmi2"),
        # A library that doesn't say what it speaks has what its family has.
        (wanted(family=OPEN_MPI), FULL, "srun", "pmix"),
    ],
)
def test_the_best_way_that_works_is_chosen(
    asked: Wanted, srun: SrunFacts, launcher: str, mpi: str
) -> None:
    found = choose(asked, srun)

    assert (found.launcher, found.mpi) == (launcher, mpi)
    assert found.reason


@pytest.mark.parametrize(
    ("asked", "srun", "says"),
    [
        (open_mpi(), NO_PLUGIN, "can't start programs of Open MPI yet (srun has no plugin"),
        (open_mpi(), NO_PMIX, "can't start programs of Open MPI yet (srun has none of"),
        (open_mpi(launcher="ssh"), FULL, "use --launcher=srun --mpi=pmix"),
        (open_mpi(launcher="local"), NO_SLURM, "can't start programs of Open MPI"),
        (mpich(launcher="srun"), NO_PLUGIN, "can't enter an image — use --launcher=ssh"),
        (mpich(launcher="srun"), NO_SLURM, "there is no srun — use --launcher=local"),
        (mpich(launcher="srun"), NO_PMI, "none of the --mpi types that MPICH needs"),
        (mpich(launcher="srun", mpi="pmi3"), FULL, "no --mpi=pmi3 — it has none, pmi2, pmix"),
        (mpich(launcher="ssh", mpi="pmi2"), FULL, "--launcher=ssh has no --mpi=pmi2"),
        (mpich(mpi="pmi2"), NO_PLUGIN, "no --mpi=pmi2 (srun has no plugin of hpcbox here)"),
        (mpich(launcher="ssh"), NO_SLURM, "no allocation, and none can be had"),
    ],
)
def test_what_can_not_work_is_refused_with_a_reason(
    asked: Wanted, srun: SrunFacts, says: str
) -> None:
    with pytest.raises(LaunchRefused, match=re.escape(says)):
        choose(asked, srun)


def test_an_unknown_launcher_is_refused() -> None:
    with pytest.raises(RequestError, match="no launcher 'mpirun'"):
        choose(wanted("mpirun"), FULL)


def test_crays_library_gets_crays_type_where_there_is_one() -> None:
    asked = wanted(family=MPICH, product="Cray MPICH")
    cray = SrunFacts("", has_plugin=True, mpi_types=("pmi2", "cray_shasta"))

    assert choose(asked, cray) == Choice(
        "srun", "cray_shasta", "Cray MPICH works with srun's cray_shasta"
    )

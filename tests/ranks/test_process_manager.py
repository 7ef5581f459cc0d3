"""Who finds its process manager: the pairings that were measured, and no false alarm."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpcbox.ranks import process_manager
from hpcbox.ranks.process_manager import mapped_libraries, refusal
from hpcbox.rootfs.mpi_library import MPICH, OPEN_MPI, PMI1, PMI2, PMIX, library_family

MPICH_PROGRAM = ("libmpich.so.12", "libc.so.6")
OPEN_MPI_PROGRAM = ("libmpi.so.40", "libc.so.6")
PLAIN = ("PATH", "HOME", "SLURM_PROCID", "SLURM_NTASKS")
SRUN_PMI2 = (*PLAIN, "PMI_FD", "PMI_JOBID", "PMI_RANK", "PMI_SIZE")
SRUN_PMIX = (*PLAIN, "PMIX_NAMESPACE", "PMIX_RANK", "PMIX_SERVER_TMPDIR", "PMIX_SERVER_URI21")
HYDRA = (*PLAIN, "PMI_FD", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID")
ORTED = (*PLAIN, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMIX_NAMESPACE")


def debian_mpich() -> set[str]:
    return {PMI1, PMI2}


def debian_open_mpi() -> set[str]:
    return {PMIX}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("libmpich.so.12", MPICH),
        ("libmpich.so.12.4.1", MPICH),
        ("libmpi.so.12", MPICH),
        ("libmpi.so.12.0.0", MPICH),
        ("libmpi_cray.so.12", MPICH),
        ("libmpi_gnu_91.so.12", MPICH),
        ("libmpifort.so.12", MPICH),
        ("libmpi.so.40", OPEN_MPI),
        ("libmpi.so.40.30.4", OPEN_MPI),
        ("libmpi_mpifh.so.40", OPEN_MPI),
        ("libmpi_usempif08.so.40", OPEN_MPI),
        ("libmpi.so", None),
        ("libmpi_abi.so.1", None),
        ("libmpi.so.1", None),
        ("libmpdec.so.3", None),
        ("libc.so.6", None),
        ("", None),
    ],
)
def test_a_librarys_name_tells_its_family(name: str, family: str | None) -> None:
    assert library_family(name) == family


@pytest.mark.parametrize(
    ("program", "variables", "spoken"),
    [
        (MPICH_PROGRAM, SRUN_PMI2, debian_mpich),
        (MPICH_PROGRAM, HYDRA, debian_mpich),
        (OPEN_MPI_PROGRAM, SRUN_PMIX, debian_open_mpi),
        (OPEN_MPI_PROGRAM, ORTED, debian_open_mpi),
    ],
)
def test_a_pairing_that_works_is_no_alarm(
    program: tuple[str, ...], variables: tuple[str, ...], spoken: object
) -> None:
    assert refusal(program, variables, 4, spoken=spoken) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("program", "variables", "spoken", "says"),
    [
        (MPICH_PROGRAM, PLAIN, None, ("MPICH", "no process manager", "--mpi=pmi2")),
        (OPEN_MPI_PROGRAM, PLAIN, None, ("Open MPI", "no process manager", "--mpi=pmix")),
        (OPEN_MPI_PROGRAM, HYDRA, debian_open_mpi, ("needs PMIx", "PMI-1", "--mpi=pmix")),
        (OPEN_MPI_PROGRAM, SRUN_PMI2, debian_open_mpi, ("needs PMIx", "PMI-1", "--mpi=pmix")),
        (MPICH_PROGRAM, ORTED, debian_mpich, ("needs PMI-1 or PMI-2", "offers PMIx", "pmi2")),
        (MPICH_PROGRAM, SRUN_PMIX, debian_mpich, ("offers PMIx", "--mpi=pmi2")),
    ],
)
def test_a_pairing_that_made_ranks_alone_is_explained_with_the_right_flag(
    program: tuple[str, ...], variables: tuple[str, ...], spoken: object, says: tuple[str, ...]
) -> None:
    text = refusal(program, variables, 2, spoken=spoken)  # type: ignore[arg-type]

    assert text is not None
    assert "each rank would believe to be alone" in text
    assert all(words in text for words in says)
    assert "\n" not in text


def test_the_flag_suits_what_starts_the_ranks() -> None:
    mpich = refusal(MPICH_PROGRAM, PLAIN, 2, launcher="ssh")
    open_mpi = refusal(OPEN_MPI_PROGRAM, PLAIN, 2, launcher="ssh")

    assert mpich is not None
    assert "--mpi=hydra" in mpich
    assert open_mpi is not None
    assert "--launcher=srun --mpi=pmix" in open_mpi


@pytest.mark.parametrize(
    ("program", "variables", "tasks"),
    [
        (MPICH_PROGRAM, PLAIN, 1),
        (MPICH_PROGRAM, PLAIN, 0),
        (("libc.so.6",), PLAIN, 4),
        ((), PLAIN, 4),
        (("libmpi.so", "libc.so.6"), PLAIN, 4),
        (("libmpi_abi.so.1", "libc.so.6"), PLAIN, 4),
        (("libmpi.so.40", "libmpich.so.12"), PLAIN, 4),
        # Slurm's own client of PMI-1 needs nothing from the step.
        (("libmpi.so.12", "libpmi.so.0"), PLAIN, 4),
        (("libmpi.so.12", "libc.so.6"), (*PLAIN, "I_MPI_PMI_LIBRARY"), 4),
        # Old Open MPI under its own mpirun, and Cray's.
        (("libmpi.so.20",), (*PLAIN, "OMPI_COMM_WORLD_RANK"), 4),
        (("libmpi_cray.so.12",), (*PLAIN, "PALS_RANKID"), 4),
        # Some builds know the other kind; without a look into the image nothing is sure.
        (MPICH_PROGRAM, SRUN_PMIX, 4),
        (OPEN_MPI_PROGRAM, SRUN_PMI2, 4),
        (MPICH_PROGRAM, (*PLAIN, process_manager.ALONE_ON_PURPOSE), 4),
    ],
)
def test_what_is_not_known_for_sure_is_no_alarm(
    program: tuple[str, ...], variables: tuple[str, ...], tasks: int
) -> None:
    assert refusal(program, variables, tasks) is None


@pytest.mark.parametrize(
    ("program", "variables", "spoken"),
    [
        (MPICH_PROGRAM, SRUN_PMIX, {PMI1, PMI2, PMIX}),
        (OPEN_MPI_PROGRAM, SRUN_PMI2, {PMI2, PMIX}),
        (OPEN_MPI_PROGRAM, SRUN_PMI2, set[str]()),
    ],
)
def test_a_build_that_knows_the_other_kind_is_no_alarm(
    program: tuple[str, ...], variables: tuple[str, ...], spoken: set[str]
) -> None:
    assert refusal(program, variables, 4, spoken=lambda: spoken) is None


def test_the_image_is_asked_only_where_the_answer_hangs_on_it() -> None:
    def never() -> set[str]:
        raise AssertionError

    assert refusal(MPICH_PROGRAM, SRUN_PMI2, 4, spoken=never) is None
    assert refusal(MPICH_PROGRAM, PLAIN, 4, spoken=never) is not None
    assert refusal(("libc.so.6",), PLAIN, 4, spoken=never) is None


def test_libraries_are_found_in_the_maps_of_a_running_process() -> None:
    names = mapped_libraries(Path("/proc/self/maps").read_bytes())

    assert "libc.so.6" in names
    assert not any("/" in name or " " in name for name in names)


def test_a_library_that_was_replaced_meanwhile_keeps_its_name() -> None:
    line = b"7f0000-7f1000 r-xp 00000000 fe:00 1   /opt/my lib/libmpi.so.40 (deleted)\n"

    assert mapped_libraries(line * 2 + b"7ffd r-xp 0 00:00 0 [vdso]\n") == ("libmpi.so.40",)


def test_the_module_loads_nothing() -> None:
    script = (
        "import sys; sys.path.insert(0, '.'); before = set(sys.modules);"
        "import hpcbox.ranks.process_manager, hpcbox.rootfs.elf;"
        "print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )

    others = {name for name in loaded.stdout.split() if not name.startswith("hpcbox")}
    assert others <= {
        *("struct", "_struct", "os", "os.path", "posixpath", "genericpath", "stat", "_stat"),
        "_collections_abc",
    }

"""Whether an MPI program finds the process manager it knows, told from names alone; pure.

An MPI library without one doesn't complain: it starts as a job of one rank, so that N ranks each
believe to be alone and end with 0 (measured for MPICH 4.2.1, Open MPI 4.1.4 and 5.0.7). What is
said here has to be true: whatever isn't known for sure gives no answer.
Loaded on nodes: standard library only.
"""

from hpcbox.rootfs.mpi_library import MPICH, OPEN_MPI, PMIX, library_family, library_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

ALONE_ON_PURPOSE = "HPCBOX_SINGLETONS"
"""A user sets this variable where the ranks of an MPI program are meant to be alone."""

# Slurm's own clients of PMI-1 and -2, and its way to give one to Intel MPI: PMI-1 works without
# any plugin in the step.
_SLURM_CLIENTS = ("libpmi", "libpmi2")
_SLURM_CLIENT_VARIABLE = "I_MPI_PMI_LIBRARY"

_PMI_PREFIXES = ("PMI_", "PMI2_", "PALS_", "ALPS_")
_PMIX_NAMES = ("PMIX_RANK", "PMIX_NAMESPACE")
_OPEN_MPI_NAMES = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")

_OFFERED = {
    (False, False): "no process manager",
    (True, False): "PMI-1 and PMI-2",
    (False, True): "PMIx",
}
_WANTED = {MPICH: "PMI-1 or PMI-2", OPEN_MPI: "PMIx"}
_FLAGS = {
    ("srun", MPICH): "use --mpi=pmi2",
    ("srun", OPEN_MPI): "use --mpi=pmix",
    ("ssh", MPICH): "use --mpi=hydra or leave --mpi out",
    ("ssh", OPEN_MPI): "use --launcher=srun --mpi=pmix",
}


def program_family(sonames: "Iterable[str]") -> str | None:
    """Return the MPI family of a program with these libraries; None for none, or for two."""
    families = {family for name in sonames if (family := library_family(name)) is not None}
    return families.pop() if len(families) == 1 else None


def mapped_libraries(maps: bytes) -> tuple[str, ...]:
    """Return the file names of the libraries in the text of a /proc/PID/maps, each once.

    A program that has merely loaded a library, as a framework built with MPI does, may never start
    it: what is told from these names alone is worth a warning, not the end of a job.
    """
    names: dict[str, None] = {}
    for line in maps.splitlines():
        # address, permissions, offset, device, inode, path
        fields = line.split(None, 5)
        if len(fields) == 6 and b".so" in fields[5]:
            path = fields[5].removesuffix(b" (deleted)")
            names[path.rpartition(b"/")[2].decode("utf-8", "replace")] = None
    return tuple(names)


def refusal(
    sonames: "Iterable[str]",
    variables: "Collection[str]",
    tasks: int,
    *,
    launcher: str = "srun",
    spoken: "Callable[[], Collection[str]] | None" = None,
) -> str | None:
    """Explain why the ranks would each believe to be alone, in one line with the right flag.

    None when they find each other, and when it can't be known.

    Args:
        sonames: of the libraries that the program needs (`rootfs.elf.needed`) or has mapped.
        variables: names of the variables that a rank starts with.
        tasks: of the step.
        launcher: what starts the ranks, "srun" or else hpcbox itself; chooses the flag.
        spoken: tells which of PMI1, PMI2, PMIX the program's MPI library speaks
            (`rootfs.mpi.probe(…).pmi`); asked only where the answer hangs on it. Without it nothing
            is said where the step offers a kind that few builds of this family know.
    """
    if tasks <= 1 or ALONE_ON_PURPOSE in variables:
        return None
    names = tuple(sonames)
    family = program_family(names)
    if family is None or _asks_slurm_itself(names, variables):
        return None
    pmi, pmix = _offers(variables, family)
    usual, rare = (pmi, pmix) if family == MPICH else (pmix, pmi)
    if usual or (rare and _speaks_rare(family, spoken)):
        return None
    flag = _FLAGS["srun" if launcher == "srun" else "ssh", family]
    return (
        f"this is a program of {family}, which needs {_WANTED[family]}, and the step offers "
        f"{_OFFERED[pmi, pmix]}: each rank would believe to be alone — {flag} "
        f"({ALONE_ON_PURPOSE}=1 if that is wanted)"
    )


def _asks_slurm_itself(names: tuple[str, ...], variables: "Collection[str]") -> bool:
    if _SLURM_CLIENT_VARIABLE in variables:
        return True
    return any(library_parts(name)[0] in _SLURM_CLIENTS for name in names)


def _offers(variables: "Collection[str]", family: str) -> tuple[bool, bool]:
    pmi = any(name.startswith(_PMI_PREFIXES) for name in variables)
    pmix = any(name in variables for name in _PMIX_NAMES)
    # A rank of Open MPI's own mpirun; old ones have these names alone.
    own = any(name in variables for name in _OPEN_MPI_NAMES)
    return pmi, pmix or (own and family == OPEN_MPI)


def _speaks_rare(family: str, spoken: "Callable[[], Collection[str]] | None") -> bool:
    if spoken is None:
        return True
    kinds = spoken()
    # An empty answer is one that knows nothing.
    return not kinds or any((kind == PMIX) == (family == MPICH) for kind in kinds)

"""What the name of a library says about MPI: its family; pure.

Loaded on nodes: standard library only.
"""

MPICH = "MPICH"
OPEN_MPI = "Open MPI"

PMI1, PMI2, PMIX = "pmi1", "pmi2", "pmix"

# libmpi.so.12 is the ABI of MPICH, Intel, Cray and MVAPICH; Open MPI 1.10 had that number once, and
# speaks PMI-2 too. libmpi_abi.so belongs to no family.
_MPICH_NUMBERS = ("12",)
_OPEN_MPI_NUMBERS = ("20", "40")
# Fortran's come without the others when the linker drops what is only needed indirectly.
_MPICH_ONLY = ("libmpich", "libmpichfort", "libmpichf90", "libmpichcxx", "libmpifort", "libmpicxx")
_OPEN_MPI_ONLY = ("libmpi_mpifh", "libmpi_usempif08", "libmpi_usempi_ignore_tkr", "libmpi_cxx")


def library_family(name: str) -> str | None:
    """Return the MPI family of a library, by its soname or file name; None for any other file."""
    stem, number = library_parts(name)
    if stem in _MPICH_ONLY:
        return MPICH
    if stem in _OPEN_MPI_ONLY:
        return OPEN_MPI
    if stem == "libmpi" and number in _OPEN_MPI_NUMBERS:
        return OPEN_MPI
    # libmpi_cray.so.12, libmpi_gnu_91.so.12: Cray names the compiler.
    is_mpi = stem == "libmpi" or stem.startswith("libmpi_")
    return MPICH if is_mpi and number in _MPICH_NUMBERS else None


def library_parts(name: str) -> tuple[str, str]:
    """Return ("libmpi", "40") of "libmpi.so.40.30.4"; the number is "" where there is none."""
    stem, _, version = name.partition(".so")
    return stem, version.removeprefix(".").partition(".")[0]

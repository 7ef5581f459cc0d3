"""Which MPI an image has, told from its files without running any of them.

Libraries by their names in the folders of the dynamic linker; the kinds of process manager they
speak by names in their constants and by plugins beside them; the version by the package database,
else by the library's own numbers. All of it belongs to the image's maker: reading is bounded, and
nothing that was read becomes more than a word shown to the user or a path inside the image.
Loaded on nodes: standard library only.
"""

import os

from hpcbox.rootfs import elf, packages
from hpcbox.rootfs.mpi_library import (
    MPICH,
    OPEN_MPI,
    PMI1,
    PMI2,
    PMIX,
    library_family,
    library_parts,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hpcbox.rootfs.root_files import RootFiles

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAUNCHERS = {
    MPICH: ("mpiexec.hydra", "hydra_pmi_proxy"),
    OPEN_MPI: ("prted", "prterun", "orted", "orterun"),
}

_MULTIARCH = tuple(f"/usr/lib/{os.uname().machine}-linux-gnu{end}" for end in ("", "/openmpi/lib"))
_FOLDERS = (
    *_MULTIARCH,
    *("/usr/lib64", "/usr/lib", "/usr/local/lib64", "/usr/local/lib", "/lib64", "/lib"),
    *("/usr/lib64/mpich/lib", "/usr/lib64/openmpi/lib"),
)
_MAXIMUM_FOLDERS = 16
_MAXIMUM_LIBRARY_BYTES = 256 * 2**20

# Libraries that call themselves by another name.
_PRODUCTS = {
    b"Intel(R) MPI Library": "Intel MPI",
    b"MVAPICH": "MVAPICH",
    b"CRAY MPICH": "Cray MPICH",
}
_MPICH_PMI = b"PMI_FD\0"
# Linked or opened by name; or built in, then with the variable that its server sets. MPICH 4 names
# PMIx's functions whether it has them or not.
_MPICH_PMIX = (b"libpmix.so", b"PMIX_SERVER_URI")
_PACKAGES = {MPICH: ("libmpich", "mpich"), OPEN_MPI: ("libopenmpi", "openmpi")}
_PACKAGED_BELOW = ("/usr/lib", "/lib")
# Plugins of Open MPI up to 4 for Slurm's PMI-1 and PMI-2.
_OPEN_MPI_PMI = {"mca_pmix_s1.so": PMI1, "mca_pmix_s2.so": PMI2}


class MpiSupport:
    """One MPI of an image.

    Attributes:
        family: MPICH or OPEN_MPI: who can start its ranks.
        product: its name for people; differs from the family for Intel MPI and others.
        version: as "4.2.1", with as many numbers as are known, or "".
        pmi: the kinds it speaks: PMI1, PMI2, PMIX; empty when unknown.
        launchers: name of a program of its process manager → path in the image.
        library: path of its library in the image.
    """

    __slots__ = ("family", "launchers", "library", "pmi", "product", "version")

    def __init__(
        self,
        *,
        family: str,
        product: str,
        version: str,
        pmi: tuple[str, ...],
        launchers: dict[str, str],
        library: str,
    ) -> None:
        self.family = family
        self.product = product
        self.version = version
        self.pmi = pmi
        self.launchers = launchers
        self.library = library

    def as_json(self) -> "dict[str, str | list[str] | dict[str, str]]":
        """Return it as `--json` and the cache have it."""
        return {
            "family": self.family,
            "product": self.product,
            "version": self.version,
            "pmi": list(self.pmi),
            "launchers": dict(self.launchers),
            "library": self.library,
        }

    def __str__(self) -> str:
        """`MPICH 4.2.1, PMI-1/2; launcher /usr/bin/mpiexec.hydra`."""
        kinds = "/".join(kind.removeprefix("pmi") for kind in self.pmi if kind != PMIX)
        spoken = [f"PMI-{kinds}"] if kinds else []
        spoken += ["PMIx"] if PMIX in self.pmi else []
        name = f"{self.product} {self.version}".rstrip()
        text = ", ".join([name, *spoken])
        starters = [
            self.launchers[name] for name in LAUNCHERS[self.family] if name in self.launchers
        ]
        return f"{text}; launcher {starters[0]}" if starters else f"{text}; no launcher"


def probe(root: "RootFiles", variables: "Iterable[str]" = ()) -> tuple[MpiSupport, ...]:
    """Return the MPIs that programs of an image may find, one of each family, first found first.

    `variables` is the image's environment as NAME=VALUE: its PATH and LD_LIBRARY_PATH are searched
    before the usual folders.
    """
    environment = dict(one.partition("=")[::2] for one in variables)
    programs = _folders(environment.get("PATH", DEFAULT_PATH))
    beside = [
        f"{os.path.dirname(folder)}/{name}" for folder in programs for name in ("lib64", "lib")
    ]
    linked = _folders(environment.get("LD_LIBRARY_PATH", ""))
    supports: dict[str, MpiSupport] = {}
    for folder in dict.fromkeys([*linked, *_FOLDERS, *beside]):
        for family, name in _libraries(_names(root, folder)).items():
            if family not in supports:
                supports[family] = _support(root, family, f"{folder}/{name}", programs)
    return tuple(supports.values())


def program_needs(root: "RootFiles", program: str, path: str = DEFAULT_PATH) -> tuple[str, ...]:
    """Return the libraries that a program of the image needs; () for a script or a missing one.

    `program` is looked up in `path` when it has no slash.
    """
    folders = [""] if "/" in program else [f"{folder}/" for folder in _folders(path)]
    for folder in folders:
        descriptor = _open(root, f"{folder}{program}")
        if descriptor is not None:
            try:
                return elf.needed(descriptor)
            finally:
                os.close(descriptor)
    return ()


def _folders(path: str) -> list[str]:
    return [
        folder.rstrip("/")
        for folder in path.split(":")[:_MAXIMUM_FOLDERS]
        # Others can't be shown, and a path inside the image has to begin at its root.
        if folder.startswith("/") and folder.isprintable()
    ]


def _names(root: "RootFiles", folder: str) -> list[str]:
    try:
        return root.names(folder)
    except OSError:
        return []


def _open(root: "RootFiles", path: str) -> int | None:
    try:
        return root.open(path)
    except (OSError, ValueError):
        return None


def _libraries(names: list[str]) -> dict[str, str]:
    """Return family → file of its C library; the one whose name says most."""
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (-name.count("."), name)):
        family = library_family(name)
        stem = library_parts(name)[0]
        is_c = stem in ("libmpi", "libmpich") or (stem.startswith("libmpi_") and family == MPICH)
        if family is not None and is_c and name.isprintable():
            found.setdefault(family, name)
    return found


def _support(root: "RootFiles", family: str, library: str, programs: list[str]) -> MpiSupport:
    guess = _guess(family, os.path.basename(library))
    said = _constants(root, library, {_MPICH_PMI, *_MPICH_PMIX, *_PRODUCTS, *_spellings(guess)})
    product = next((name for text, name in _PRODUCTS.items() if text in said), family)
    return MpiSupport(
        family=family,
        product=product,
        version=_version(root, family, library, guess, said) if product == family else "",
        pmi=_mpich_pmi(said) if family == MPICH else _open_mpi_pmi(root, library),
        launchers=_launchers(root, family, library, programs),
        library=library,
    )


def _launchers(root: "RootFiles", family: str, library: str, programs: list[str]) -> dict[str, str]:
    beside = f"{os.path.dirname(os.path.dirname(library))}/bin"
    launchers: dict[str, str] = {}
    for folder in dict.fromkeys([*programs, beside]):
        names = set(_names(root, folder))
        for name in LAUNCHERS[family]:
            if name in names:
                launchers.setdefault(name, f"{folder}/{name}")
    return launchers


def _version(root: "RootFiles", family: str, library: str, guess: str, said: set[bytes]) -> str:
    # Another copy, in /opt say, isn't the package's.
    if library.startswith(_PACKAGED_BELOW):
        packaged = packages.version(root, _PACKAGES[family])
        if packaged:
            return packaged
    # The file's numbers stand for two numbers of the release; the third only where it is written.
    exact = not said.isdisjoint(_spellings(guess))
    return guess if exact else ".".join(guess.split(".")[:2])


def _constants(root: "RootFiles", library: str, texts: set[bytes]) -> set[bytes]:
    descriptor = _open(root, library)
    if descriptor is None:
        return set()
    try:
        return elf.contained(descriptor, texts, _MAXIMUM_LIBRARY_BYTES)
    finally:
        os.close(descriptor)


def _mpich_pmi(said: set[bytes]) -> tuple[str, ...]:
    # Without these names (a stripped or static build, a vendor's own PMI) nothing is known.
    kinds = (PMI1, PMI2) if _MPICH_PMI in said else ()
    return kinds if said.isdisjoint(_MPICH_PMIX) else (*kinds, PMIX)


def _open_mpi_pmi(root: "RootFiles", library: str) -> tuple[str, ...]:
    folder = os.path.dirname(library)
    places = [f"{folder}/openmpi"]
    places += [
        f"{folder}/openmpi/lib/{name}" for name in _names(root, f"{folder}/openmpi/lib")[:64]
    ]
    places += [f"{folder}/{name}" for name in _names(root, folder) if name.startswith("openmpi")][
        :64
    ]
    plugins = {name for place in places for name in _names(root, place)}
    return (*(kind for name, kind in _OPEN_MPI_PMI.items() if name in plugins), PMIX)


def _guess(family: str, name: str) -> str:
    """Return the release that a library's numbers stand for, "" when they say nothing.

    MPICH counts 12.2.P for 4.0.P, 12.3.P for 4.1.P, … (its maint/version.m4); Open MPI 40.20.P for
    4.0.P, 40.30.P for 4.1.P, 40.40.P for 5.0.P (its VERSION), where P follows the release loosely.
    """
    numbers = name.partition(".so.")[2].split(".")
    if len(numbers) != 3 or not all(one.isascii() and one.isdigit() for one in numbers):
        return ""
    major, minor, patch = (int(one[:6]) for one in numbers)
    if family == MPICH:
        return f"4.{minor - 2}.{patch}" if major == 12 and minor >= 2 else ""
    release = {20: "4.0", 30: "4.1", 40: "5.0"}.get(minor)
    return f"{release}.{patch}" if major == 40 and release else ""


def _spellings(version: str) -> set[bytes]:
    text = version.encode()
    return {b"\0" + text + b"\0", b"\0v" + text + b"\0"} if text else set()

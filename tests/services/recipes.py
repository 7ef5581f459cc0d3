"""What the lab's images are made of; how is images.py's business."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

from tests.services.debian import NEXT_SUITE, SUITE


@dataclass(frozen=True, slots=True)
class Program:
    """A program from programs/ that an image has.

    Attributes:
        source: file in programs/.
        target: path in the image.
        compiler: command and flags, run on this machine; "{development}" stands for the folder
            with the recipe's development packages. Without it the source is copied as it is.
    """

    source: str
    target: str
    compiler: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image.

    Attributes:
        name: repository in the lab's registry; the tag is 1.
        debian: start from Debian's minimal root, else from nothing.
        packages: Debian packages to add as a layer.
        programs: compiled into the top layer.
        workdir: WorkingDir of the image's config, "" for none.
        command: Cmd of the config.
        docker: manifest in Docker's format (v2, schema 2), else OCI's.
        extra_env: more NAME=VALUE entries.
        suite: Debian's release.
        development: packages that programs are compiled with, unpacked beside the image.
        wheels: packages from PyPI for the image's Python, NAME==VERSION.
        libraries: more of them, in a layer of their own.
        included: Debian packages in the minimal root's own layer.
        unpacked: Debian packages in a layer as they are: not installed, without what they need.
        made: layers of made_layers.py, by name.
        removed: names that the top layer hides; a folder's that ends in / stays and is emptied.
    """

    name: str
    debian: bool
    packages: tuple[str, ...]
    programs: tuple[Program, ...]
    workdir: str
    command: tuple[str, ...]
    docker: bool
    extra_env: tuple[str, ...] = field(default=())
    suite: str = field(default=SUITE, repr=False)
    development: tuple[str, ...] = field(default=(), repr=False)
    wheels: tuple[str, ...] = field(default=(), repr=False)
    libraries: tuple[str, ...] = field(default=(), repr=False)
    included: tuple[str, ...] = field(default=(), repr=False)
    unpacked: tuple[str, ...] = field(default=(), repr=False)
    made: tuple[str, ...] = field(default=(), repr=False)
    removed: tuple[str, ...] = field(default=(), repr=False)

    @property
    def reference(self) -> str:
        """NAME:TAG."""
        return f"{self.name}:1"


def _mpi(*compiler: str) -> tuple[Program, ...]:
    return tuple(
        Program(f"{name}_mpi.c", f"opt/mpi/{name}", (*compiler, "-O1", "-Wall"))
        for name in ("hello", "stall")
    )


def _next_mpi(headers: str, library: str) -> tuple[Program, ...]:
    """The same compiled for the next release: this machine's compiler, that release's MPI."""
    return _mpi(
        "gcc",
        f"-I{{development}}/usr/lib/{MULTIARCH}/{headers}",
        f"-L{{development}}/usr/lib/{MULTIARCH}",
        # The library wants a newer C library than this machine's; the image has it.
        "-Wl,--no-as-needed,--allow-shlib-undefined",
        f"-l:{library}",
    )


MULTIARCH = f"{platform.machine()}-linux-gnu"

RECIPES = (
    Recipe(
        name="debian",
        debian=True,
        packages=(),
        programs=(),
        workdir="",
        command=("bash",),
        docker=False,
    ),
    Recipe(
        name="mpich",
        debian=True,
        packages=("mpich",),
        programs=_mpi("mpicc.mpich"),
        workdir="/opt/mpi",
        command=("/opt/mpi/hello",),
        docker=True,
    ),
    Recipe(
        name="openmpi4",
        debian=True,
        packages=("libopenmpi3",),
        programs=_mpi("mpicc.openmpi"),
        workdir="/opt/mpi",
        command=("/opt/mpi/hello",),
        docker=False,
    ),
    Recipe(
        name="static",
        debian=False,
        packages=(),
        programs=(Program("static.c", "static", ("gcc", "-O1", "-Wall", "-static")),),
        workdir="/",
        command=("/static",),
        docker=True,
    ),
    Recipe(
        name="mpich42",
        debian=True,
        packages=("mpich", "python3"),
        programs=(
            *_next_mpi("mpich/include", "libmpich.so.12"),
            Program("hello_mpi4py.py", "opt/mpi/hello.py", ()),
            Program("hello_env.py", "opt/mpi/env.py", ()),
        ),
        workdir="/opt/mpi",
        command=("/opt/mpi/hello",),
        docker=False,
        suite=NEXT_SUITE,
        development=("libmpich-dev", "libmpich12"),
        wheels=("mpi4py==4.1.1",),
    ),
    Recipe(
        name="openmpi5",
        debian=True,
        packages=("openmpi-bin",),
        programs=_next_mpi("openmpi/include", "libmpi.so.40"),
        workdir="/opt/mpi",
        command=("/opt/mpi/hello",),
        docker=True,
        suite=NEXT_SUITE,
        development=("libopenmpi-dev", "libopenmpi40"),
    ),
)

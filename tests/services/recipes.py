"""What the lab's images are made of; how is images.py's business."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Program:
    """A C program from programs/ that an image has.

    Attributes:
        source: file in programs/.
        target: path in the image.
        compiler: command and flags, run on this machine (a Debian 12, as the images).
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
    """

    name: str
    debian: bool
    packages: tuple[str, ...]
    programs: tuple[Program, ...]
    workdir: str
    command: tuple[str, ...]
    docker: bool
    extra_env: tuple[str, ...] = field(default=())

    @property
    def reference(self) -> str:
        """NAME:TAG."""
        return f"{self.name}:1"


def _mpi(compiler: str) -> tuple[Program, ...]:
    return tuple(
        Program(f"{name}_mpi.c", f"opt/mpi/{name}", (compiler, "-O1", "-Wall"))
        for name in ("hello", "stall")
    )


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
        packages=("libmpich12",),
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
)

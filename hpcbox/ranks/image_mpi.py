"""Which way of launching the files of a place offer, seen from the node's agent.

Loaded on nodes: standard library only.
"""

import os

from hpcbox import kernel
from hpcbox.ranks import process_manager
from hpcbox.rootfs import mpi
from hpcbox.rootfs.root_files import MountedRoot

_HYDRA = "mpiexec.hydra"
# Open MPI's daemons: of 4 and of 5.
_OPEN_MPI = ("orted", "prted")
_SHELL = "/bin/sh"


class Found:
    """What is there.

    Attributes:
        way: "hydra", "openmpi" or "env".
        mpiexec: path of mpiexec.hydra, or "".
        shell: path of the shell, or "".
    """

    __slots__ = ("mpiexec", "shell", "way")

    def __init__(self, way: str, mpiexec: str, shell: str) -> None:
        self.way = way
        self.mpiexec = mpiexec
        self.shell = shell


def look(init_pid: int | None, path: str) -> Found:
    """Look in a container's root, or with None on the node itself.

    Args:
        init_pid: the container's first process.
        path: PATH of the ranks.
    """
    root = _root(init_pid)
    try:
        shell = _SHELL if _is_program(root, _SHELL) else ""
        mpiexec = _first(root, path, _HYDRA)
        if mpiexec:
            return Found("hydra", mpiexec, shell)
        if any(_first(root, path, name) for name in _OPEN_MPI):
            return Found("openmpi", "", shell)
        return Found("env", "", shell)
    finally:
        os.close(root)


def refusal(init_pid: int | None, program: str, variables: dict[str, str], tasks: int) -> str:
    """Say why the ranks of a program would not find each other; "" when they would, or who knows.

    Args:
        init_pid: as in `look`.
        program: the first word of the ranks' command.
        variables: what the ranks get.
        tasks: of the launch.
    """
    root = _root(init_pid)
    try:
        needs = mpi.program_needs(MountedRoot(root), program, variables.get("PATH", ""))
    except OSError:
        return ""
    finally:
        os.close(root)
    return process_manager.refusal(needs, variables, tasks, launcher="ssh") or ""


def _root(init_pid: int | None) -> int:
    path = "/" if init_pid is None else f"/proc/{init_pid}/root"
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _first(root: int, path: str, name: str) -> str:
    """Return the path of a program in PATH, or ""."""
    for folder in path.split(":"):
        if folder.startswith("/") and _is_program(root, f"{folder}/{name}"):
            return f"{folder}/{name}"
    return ""


def _is_program(root: int, path: str) -> bool:
    try:
        file = kernel.openat2(root, path, os.O_PATH, kernel.RESOLVE_IN_ROOT)
    except OSError:
        return False
    try:
        return bool(os.fstat(file).st_mode & 0o111)
    finally:
        os.close(file)

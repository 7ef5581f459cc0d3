"""Finding ranks that would each believe to be alone: before a task runs its program, and after.

A program linked with an MPI library tells by its file. A script loads the library later, so the
processes of a running task are looked at a few times. What is wrong is process_manager's to say.
Loaded on nodes: standard library only.
"""

import os

from hpcbox.ranks import process_manager
from hpcbox.rootfs import elf

LOOKS_SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""When to look at a task, each after the one before; a library that comes later isn't found."""

_MAX_PROCESSES = 64
_MAX_BYTES = 4 * 2**20


def of_program(program: int, variables: "dict[str, str]", tasks: int) -> str | None:
    """Explain why a step of this program makes no sense, or None.

    Args:
        program: the command's file, open for reading.
        variables: of the task.
        tasks: of the step.
    """
    return process_manager.refusal(elf.needed(program), variables, tasks)


def of_task(pid: int, tasks: int) -> str | None:
    """Explain what is wrong with the processes of a running task, or None.

    Each process answers with the variables that it was started with: below an mpiexec of the
    user's own these are others than the task's.
    """
    found = [pid]
    for process in found:
        libraries = process_manager.mapped_libraries(_read(process, "maps"))
        if process_manager.program_family(libraries) is not None:
            variables = _names(process)
            # A process that is ending has none, and nothing is wrong with it.
            text = process_manager.refusal(libraries, variables, tasks) if variables else None
            if text is not None:
                return text
        if len(found) < _MAX_PROCESSES:
            found += [int(word) for word in _read(process, f"task/{process}/children").split()]
    return None


def _names(process: int) -> set[str]:
    entries = _read(process, "environ").split(b"\0")
    return {entry.partition(b"=")[0].decode("utf-8", "replace") for entry in entries if entry}


def _read(process: int, name: str) -> bytes:
    """Return a file of /proc; empty when the process has ended or isn't the user's to look at."""
    parts = []
    size = 0
    try:
        file = os.open(f"/proc/{process}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        while size < _MAX_BYTES and (part := os.read(file, 65536)):
            parts.append(part)
            size += len(part)
    except OSError:
        return b""
    finally:
        os.close(file)
    return b"".join(parts)

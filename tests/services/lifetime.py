"""Whether a lab lives, and how what is left of it is removed; works without its cooperation."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import cgroups
from tests.services.failure import LabError
from tests.services.spec import CONTROLLER, cache_root, state_root

if TYPE_CHECKING:
    from collections.abc import Iterator


def id_flag(name: str) -> str:
    """What to type so that ./lab means this lab."""
    return "" if name == "lab" else f" --id {name}"


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep two commands from starting or ending the same lab at once."""
    folder = cache_root() / "locks"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / name, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def first_process(name: str) -> int | None:
    """The pid of a lab's first process, or None if it isn't running."""
    file = state_root() / name / "pids" / CONTROLLER
    try:
        pid, start_time = file.read_text(encoding="ascii").split()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The number may belong to another process by now, or to one that is dead but not yet reaped.
    alive = fields[19] == start_time and fields[0] not in {"Z", "X"}
    return int(pid) if alive else None


def remove_remains(name: str) -> None:
    """Kill a lab's processes, remove its cgroups and its folder; nothing to do is fine."""
    pid = first_process(name)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    cgroups.destroy(name)
    shutil.rmtree(state_root() / name, ignore_errors=True)
    if (state_root() / name).exists():
        raise LabError(f"can't remove {state_root() / name}")


def read_all(fd: int, timeout_seconds: float) -> str:
    """What a pipe delivers until its other end is closed everywhere."""
    deadline = time.monotonic() + timeout_seconds
    received = b""
    with open(fd, "rb", buffering=0) as pipe:
        while True:
            if not select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
                raise LabError(f"the lab isn't ready after {timeout_seconds:g} s")
            chunk = pipe.read(4096)
            if not chunk:
                return received.decode(errors="replace")
            received += chunk

"""Ending all that a process has started, down to the last grandchild.

The caller is a subreaper: what loses its parent becomes its child. Loaded on nodes.
"""

import os
import time

from hpcbox import kernel

_SECONDS = 5.0
_GAP_SECONDS = 0.005


def end_all(seconds: float = _SECONDS) -> None:
    """Kill this process's children until there are none, for at most `seconds`.

    Whatever a killed one leaves behind is a child in the next round.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pid in children():
            os.kill(pid, kernel.SIGKILL)
        if not _reap():
            return
        time.sleep(_GAP_SECONDS)


def children() -> list[int]:
    """Return the pids of this process's children, dead ones that nobody waited for included."""
    pid = os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _reap() -> bool:
    """Wait for those that have ended; return whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True

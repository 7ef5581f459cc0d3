"""Taking leave of children that have ended: the init's and the keeper's, who get orphans too.

Loaded on nodes: standard library only.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def reaped() -> "Iterator[tuple[int, int]]":
    """Yield each child that has ended: its pid, and its code as a shell has it (128 + signal)."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        yield pid, code if code >= 0 else 128 - code

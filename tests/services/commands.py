"""How the lab's services start other programs and wait for things; nothing here knows Slurm."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import time
from typing import IO, TYPE_CHECKING

from tests.services.failure import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

POLL_SECONDS = 0.02


def run(
    argv: Sequence[str],
    *,
    stdin_text: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: IO[str] | None = None,
    user: str | None = None,
) -> str:
    """Run a program to its end and return its stdout.

    Args:
        argv: program and arguments; no shell is involved.
        stdin_text: what it reads; nothing (/dev/null) by default.
        env: its whole environment; inherited by default.
        cwd: its working directory.
        log: where its stderr goes; kept for the error message by default.
        user: run as this user with this user's own group and no others.

    Raises:
        LabError: it can't be started or ends with another status than 0; the message holds
            the command, ready to paste, and the last line it wrote to stderr.
    """
    try:
        done = subprocess.run(
            argv,
            input=stdin_text,
            stdin=subprocess.DEVNULL if stdin_text is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if log is None else log,
            env=env,
            cwd=cwd,
            text=True,
            errors="replace",
            check=False,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            umask=0o022,
        )
    except OSError as error:
        raise LabError(f"can't start {shlex.join(argv)}: {error.strerror}") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = f": {lines[-1]}" if lines else ""
        raise LabError(f"{shlex.join(argv)} ended with status {done.returncode}{reason}")
    return done.stdout


def require(programs: Mapping[str, str]) -> None:
    """Check that every program is installed.

    Args:
        programs: program name → the Debian package that has it.

    Raises:
        LabError: some are missing; the message names all packages to install.
    """
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    missing = sorted({pkg for name, pkg in programs.items() if not shutil.which(name, path=path)})
    if missing:
        raise LabError(f"packages are missing — apt-get install {' '.join(missing)}")


def wait_until(
    holds: Callable[[], bool],
    *,
    timeout_seconds: float,
    what: str | Callable[[], str],
    gap_seconds: float = POLL_SECONDS,
) -> None:
    """Poll until a condition holds.

    Args:
        holds: the condition; asked at once, then every gap_seconds.
        timeout_seconds: how long to go on.
        what: names the condition in the error ("slurmctld answers"); a function is asked then.
        gap_seconds: pause between two questions.

    Raises:
        LabError: it still doesn't hold after timeout_seconds.
    """
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        if time.monotonic() > deadline:
            condition = what if isinstance(what, str) else what()
            raise LabError(f"waited {timeout_seconds:g} s in vain until {condition}")
        time.sleep(gap_seconds)


def listens(address: str, port: int) -> bool:
    """Tell whether something accepts TCP connections there, now."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True

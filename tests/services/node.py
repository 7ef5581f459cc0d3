"""The first process of a node: builds the machine, starts its daemons, then reaps what dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.services import machine, seccomp, sshd
from tests.services.commands import listens, run, wait_until
from tests.services.failure import LabError
from tests.services.spec import CONTROLLER_ADDRESS

if TYPE_CHECKING:
    from types import FrameType

SLURMCTLD_PORT = 6817
START_SECONDS = 30
SLURMD_PID_FILE = Path("/run/slurm/slurmd.pid")


def start_slurmd(name: str, *, without_user_namespaces: bool) -> None:
    """Start slurmd; it goes to the background by itself.

    Raises:
        LabError: it refuses to start; the message has its last words.
    """
    done = subprocess.run(
        ["/usr/sbin/slurmd", "-N", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # One thread only in this process, so running Python between fork and exec is safe.
        preexec_fn=seccomp.forbid_user_namespaces if without_user_namespaces else None,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"{name}: slurmd doesn't start: {done.stdout.strip()[-300:]}")


def stop_slurmd() -> None:
    """End slurmd (running steps go on: their slurmstepd's are processes of their own)."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        pid = int(SLURMD_PID_FILE.read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(
            lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid),
            timeout_seconds=START_SECONDS,
            what="slurmd has ended",
        )
    SLURMD_PID_FILE.unlink(missing_ok=True)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def boot(this: machine.Machine, munge_key: bytes, key_folder: Path, network_fd: int) -> None:
    """Bring the node up to a started slurmd.

    Args:
        this: the machine to become.
        munge_key: the cluster's secret.
        key_folder: the lab's ssh keys.
        network_fd: delivers a byte as soon as the machine's eth0 exists.

    Raises:
        LabError: something doesn't start.
    """
    this.build(munge_key, key_folder)
    machine.start_munge()
    sshd.start()
    if not os.read(network_fd, 1):
        raise LabError(f"{this.name}: the lab's first process gave up before the network was there")
    address = this.spec.address(this.name)
    run(["ip", "-batch", "-"], stdin_text=f"addr add {address}/24 dev eth0\nlink set eth0 up\n")
    wait_until(
        lambda: listens(CONTROLLER_ADDRESS, SLURMCTLD_PORT),
        timeout_seconds=START_SECONDS,
        what=f"slurmctld answers {this.name}",
    )
    start_slurmd(this.name, without_user_namespaces=this.spec.slurmd_seccomp)


def reap_for_ever(this: machine.Machine) -> NoReturn:
    """Be the machine's init: collect dead children; SIGHUP restarts a node's slurmd."""

    def restart(_signal: int, _frame: FrameType | None) -> None:
        stop_slurmd()
        start_slurmd(this.name, without_user_namespaces=this.spec.slurmd_seccomp)

    if this.name in this.spec.node_names:
        signal.signal(signal.SIGHUP, restart)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.pause()

"""The system calls that Python 3.11 has no function for: namespaces and mounts."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from tests.services.failure import LabError

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MACHINE_NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
)

# linux/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 0x2

_SYS_PIVOT_ROOT = 155  # x86_64; see pivot_root below

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise LabError(f"{what}: {os.strerror(ctypes.get_errno())}")


def unshare(flags: int) -> None:
    """Give this process new namespaces of its own (unshare(2)); raises LabError."""
    _check(_libc.unshare(flags), "can't make namespaces")


def mount(
    source: str | Path, target: Path, kind: str = "", flags: int = 0, options: str = ""
) -> None:
    """Mount something (mount(2)); raises LabError that names the target."""
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        f"can't mount {kind or source} at {target}",
    )


def tmpfs(target: Path, mode: int, *, size: str = "") -> None:
    """Mount a fresh tmpfs; the mount point is made if missing."""
    target.mkdir(parents=True, exist_ok=True)
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)


def bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    """Show a directory at a second place; the mount point is made if missing."""
    target.mkdir(parents=True, exist_ok=True)
    mount(source, target, flags=MS_BIND)
    if read_only:
        mount("", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def make_private() -> None:
    """Cut this mount namespace off from the one it was copied from."""
    mount("", Path("/"), flags=MS_REC | MS_PRIVATE)


def enter_root(root: Path) -> None:
    """Make a mounted directory the root of this mount namespace and let go of the old root.

    The second argument being the same directory is the documented way to do without a place
    for the old root (pivot_root(2), NOTES).
    """
    os.chdir(root)
    number = {"x86_64": _SYS_PIVOT_ROOT, "aarch64": 41}[os.uname().machine]
    _check(_libc.syscall(number, b".", b"."), f"can't make {root} the root")
    _check(_libc.umount2(b".", MNT_DETACH), "can't let go of the old root")
    os.chdir("/")

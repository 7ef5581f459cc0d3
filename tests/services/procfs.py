"""What /proc tells about running processes, their control groups, namespaces and mounts."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = ("mnt", "net", "pid")
KERNEL_PARENT = 2


@dataclass(frozen=True, slots=True)
class Process:
    """A user-space process that isn't a zombie.

    Attributes:
        pid: as this pid namespace numbers it.
        command: its command line, else its name in brackets.
        lab: the id of the lab in whose control groups it is, or "".
        machine: the machine of that lab (ctl, n1, …), or "".
        namespaces: kind (mnt, net, pid) → inode; empty if we may not know.
    """

    pid: int
    command: str
    lab: str
    machine: str
    namespaces: dict[str, int]


def processes() -> list[Process]:
    """All processes but kernel threads, zombies, the caller, and those that end meanwhile."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                one = _read(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if one is not None:
                found.append(one)
    return found


def _read(pid: int) -> Process | None:
    folder = Path(f"/proc/{pid}")
    head, _, tail = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
    state, parent = tail.split()[:2]
    if state in {"Z", "X"} or KERNEL_PARENT in {pid, int(parent)}:
        return None
    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").split()
    command = b" ".join(words).decode(errors="replace") or f"[{head.partition('(')[2]}]"
    groups = (folder / "cgroup").read_text(encoding="utf-8")
    tag = re.search(r"/hpcbox-([a-z0-9-]+)(?:/([a-z0-9]+))?", groups)
    return Process(
        pid=pid,
        command=command,
        lab=tag.group(1) if tag else "",
        machine=(tag.group(2) or "") if tag else "",
        namespaces=_namespaces(folder),
    )


def _namespaces(folder: Path) -> dict[str, int]:
    try:
        return {kind: (folder / "ns" / kind).stat().st_ino for kind in NAMESPACES}
    except PermissionError:
        # A process that this one may not look into, such as the first one of a virtual machine.
        return {}


def mounts(pid: int) -> list[str]:
    """The mounts that a process sees, "MOUNT-POINT TYPE SOURCE" each; none if it is gone."""
    try:
        text = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = []
    for line in text.splitlines():
        fields = line.split()
        dash = fields.index("-")
        lines.append(f"{fields[4]} {fields[dash + 1]} {fields[dash + 2]}")
    return lines


def links(pid: int) -> list[str]:
    """The network links that a process sees; none if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text(encoding="utf-8").splitlines()[2:]
    except OSError:
        return []
    return [line.partition(":")[0].strip() for line in lines]


def unix_sockets(pid: int) -> list[str]:
    """The named and abstract unix sockets in a process's network namespace; none if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/net/unix").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return []
    return [fields[7] for line in lines if len(fields := line.split(maxsplit=7)) > 7]

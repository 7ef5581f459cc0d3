"""The lab's control groups: one per lab and machine, in every hierarchy that is mounted.

Slurm 22.05's cgroup/v1 plugin is what runs in the lab (cgroup/v2 refuses hybrid systems), so the
v1 controllers must be mounted below /sys/fs/cgroup.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.services import kernel
from tests.services.commands import wait_until
from tests.services.failure import LabError

TOP = Path("/sys/fs/cgroup")
NEEDED_CONTROLLERS = frozenset({"cpuset", "memory", "freezer", "devices", "cpuacct"})


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup hierarchy: where, of which file system type, with which mount options."""

    root: Path
    kind: str
    options: str


def _mount_options(super_options: str) -> str:
    """The words that select a v1 hierarchy: its controllers, or its name for one without any."""
    words = [word for word in super_options.split(",") if word not in {"rw", "ro", "xattr"}]
    name = [word for word in words if word.startswith("name=")]
    return f"none,{name[0]}" if name else ",".join(w for w in words if "=" not in w)


def hierarchies() -> list[Hierarchy]:
    """The hierarchies mounted below /sys/fs/cgroup.

    Raises:
        LabError: a v1 controller that Slurm needs isn't mounted.
    """
    found: dict[Path, Hierarchy] = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            fields = line.split()
            kind, _, super_options = fields[fields.index("-") + 1 :]
            root = Path(fields[4])
            if kind in {"cgroup", "cgroup2"} and root.parent == TOP:
                options = _mount_options(super_options) if kind == "cgroup" else ""
                found[root] = Hierarchy(root, kind, options)
    mounted = {word for one in found.values() for word in one.options.split(",")}
    missing = NEEDED_CONTROLLERS - mounted
    if missing:
        raise LabError(
            f"cgroup v1 controllers missing below /sys/fs/cgroup: {' '.join(sorted(missing))}"
            " — Slurm 22.05's cgroup/v1 plugin needs them"
        )
    return list(found.values())


def group_name(lab: str) -> str:
    """The name of a lab's group in every hierarchy."""
    return f"hpcbox-{lab}"


def create(lab: str, machines: tuple[str, ...]) -> None:
    """Make the groups of a lab's machines, usable at once (cpuset needs its two files filled)."""
    for one in hierarchies():
        top = one.root / group_name(lab)
        for group in (top, *(top / machine for machine in machines)):
            group.mkdir(exist_ok=True)
            if one.options == "cpuset":
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (group / file).write_text((one.root / file).read_text())


def join(lab: str, machine: str) -> None:
    """Move this process into a machine's groups."""
    for one in hierarchies():
        (one.root / group_name(lab) / machine / "cgroup.procs").write_text("0")


def join_files(lab: str, machine: str) -> list[str]:
    """The files a process writes 0 to in order to become part of a machine."""
    return [
        os.fspath(one.root / group_name(lab) / machine / "cgroup.procs") for one in hierarchies()
    ]


def mount_own(at: Path) -> None:
    """Mount the hierarchies as this cgroup namespace sees them: its group is the root."""
    seen = hierarchies()
    kernel.mount("tmpfs", at, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    for one in seen:
        target = at / one.root.name
        target.mkdir()
        kernel.mount(one.kind, target, one.kind, options=one.options)
        # Where controllers share a hierarchy (cpu,cpuacct), programs look for each by its own name.
        for controller in one.options.split(",") if "," in one.root.name else ():
            (at / controller).symlink_to(one.root.name)


def members(lab: str) -> set[int]:
    """The processes in any of a lab's groups, as pids of this pid namespace."""
    pids: set[int] = set()
    for one in hierarchies():
        for folder, _, _ in os.walk(one.root / group_name(lab)):
            with contextlib.suppress(OSError):
                text = Path(folder, "cgroup.procs").read_text(encoding="ascii")
                pids.update(int(word) for word in text.split())
    return pids - {0}


def destroy(lab: str, *, timeout_seconds: float = 15) -> None:
    """Kill what is left in a lab's groups and remove them.

    Raises:
        LabError: a process or group outlives timeout_seconds.
    """

    def gone() -> bool:
        for pid in members(lab):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        tops = [one.root / group_name(lab) for one in hierarchies()]
        for top in tops:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        return not any(top.exists() for top in tops)

    wait_until(gone, timeout_seconds=timeout_seconds, what=f"the cgroups of lab {lab} are empty")

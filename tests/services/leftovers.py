"""What is there before and after: on the whole machine, and on the machines of one lab.

    before = leftovers.snapshot()
    …
    assert leftovers.difference(before, leftovers.snapshot()) == ""

Everything is read from outside (/proc, /sys), so looking changes nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import procfs
from tests.services.spec import state_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.services.procfs import Process
    from tests.services.slurm import Cluster

CGROUPS = Path("/sys/fs/cgroup")
# Folders of a machine in which a job may leave things, with how deep to look.
NODE_FOLDERS = {
    "/dev/shm": 1,
    "/tmp": 1,
    "/var/tmp": 1,
    "/run": 1,
    "/run/hpcbox": 9,
    "/var/lib/hpcbox/tmp": 1,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that exists.

    Attributes:
        kind: process, mount, link, loop, cgroup, file or socket.
        text: which one.
        lab: the lab that it belongs to, or "" if that can't be told.
    """

    kind: str
    text: str
    lab: str = ""

    def __str__(self) -> str:
        """As a line of a listing."""
        return f"{self.kind} {self.text}" + (f" (lab {self.lab})" if self.lab else "")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What existed at one moment; equal snapshots mean that nothing came or went."""

    facts: tuple[Fact, ...]

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> Snapshot:
        """A snapshot of these facts, in a stable order."""
        return cls(tuple(sorted(facts, key=str)))

    def concerning(self, lab: str) -> Snapshot:
        """Without what others do on this machine: their labs and their processes.

        A process of a lab is always in the lab's control groups, so one that isn't is foreign.
        """
        return Snapshot(
            tuple(
                fact
                for fact in self.facts
                if fact.lab == lab or (not fact.lab and fact.kind != "process")
            )
        )

    def __str__(self) -> str:
        """The listing, a line per fact."""
        return "\n".join(map(str, self.facts))


def difference(before: Snapshot, after: Snapshot) -> str:
    """What came ("+ …") and what went ("- …"), joined by "; ". Empty: the snapshots are equal."""
    old, new = Counter(before.facts), Counter(after.facts)
    came = [f"+ {fact}" for fact in (new - old).elements()]
    went = [f"- {fact}" for fact in (old - new).elements()]
    return "; ".join(came + went)


def snapshot() -> Snapshot:
    """The whole machine.

    Processes; mounts and links of all namespaces; loop devices; control groups of labs and Slurm;
    /run, /dev/shm; sockets of hpcbox; folders of labs.
    """
    running = procfs.processes()
    return Snapshot.of(
        [
            *(Fact("process", f"{one.pid} {one.command}", one.lab) for one in running),
            *_namespace_facts(running, own_only=False),
            *_loops(),
            *_cgroups(CGROUPS.glob("*/hpcbox-*")),
            *_cgroups(CGROUPS.glob("*/slurm*")),
            *(Fact("file", path) for folder in ("/run", "/dev/shm") for path in _files(folder, 2)),
            *(Fact("file", path) for path in _files(os.fspath(state_root()), 1)),
            *_hpcbox_sockets(os.getpid(), ""),
        ]
    )


def cluster_snapshot(cluster: Cluster) -> Snapshot:
    """The machines of one lab: what a job must leave as it found it.

    Processes and mounts by name, not by number, so a restarted slurmd makes no difference.
    """
    running = procfs.processes()
    facts: list[Fact] = []
    for machine in cluster.spec.machines:
        first = cluster.first_pid(machine)
        ours = [one for one in running if (one.lab, one.machine) == (cluster.name, machine)]
        facts += [Fact("process", f"{machine}: {one.command}") for one in ours]
        facts += [
            Fact(fact.kind, f"{machine}: {fact.text}")
            for fact in (
                *_namespace_facts(ours, own_only=True),
                *_hpcbox_sockets(first, ""),
                *_job_cgroups(cluster.name, machine),
            )
        ]
        root = os.fspath(cluster.file(machine, "/"))
        for folder, depth in NODE_FOLDERS.items():
            for path in _files(f"{root}{folder}", depth):
                facts.append(Fact("file", f"{machine}: /{path.removeprefix(root).lstrip('/')}"))
    return Snapshot.of(facts)


def _namespace_facts(running: list[Process], *, own_only: bool) -> Iterator[Fact]:
    """Mounts and links, once per namespace that has a process."""
    for kind, noun, look in (("mnt", "mount", procfs.mounts), ("net", "link", procfs.links)):
        seen: dict[int, Process] = {}
        for one in running:
            if kind in one.namespaces:
                seen.setdefault(one.namespaces[kind], one)
        for one in seen.values():
            for text in look(one.pid):
                yield Fact(noun, text, "" if own_only else one.lab)


def _loops() -> Iterator[Fact]:
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        yield Fact("loop", f"{file.parts[3]} {file.read_text().strip()}")


def _cgroups(tops: Iterable[Path]) -> Iterator[Fact]:
    for top in tops:
        lab = top.name.removeprefix("hpcbox-") if top.name.startswith("hpcbox-") else ""
        for folder, _, _ in os.walk(top):
            yield Fact("cgroup", folder, lab)


def _job_cgroups(lab: str, machine: str) -> Iterator[Fact]:
    """Groups of jobs; slurmd keeps its own and those of users for good."""
    for top in CGROUPS.glob(f"*/hpcbox-{lab}/{machine}"):
        for folder, _, _ in os.walk(top):
            if "/job_" in folder:
                yield Fact("cgroup", folder)


def _hpcbox_sockets(pid: int, lab: str) -> Iterator[Fact]:
    for name in procfs.unix_sockets(pid):
        if "hpcbox" in name:
            yield Fact("socket", name, lab)


def _files(top: str, depth: int) -> Iterator[str]:
    """Paths below a folder, at most depth levels down; none if it doesn't exist."""
    try:
        entries = sorted(os.scandir(top), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        yield entry.path
        if depth > 1 and entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, depth - 1)

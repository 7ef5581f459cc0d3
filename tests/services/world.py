"""The first process of a lab: the controller machine, and the parent of all nodes.

It is process 1 of the lab's pid namespace: when it dies, by whatever hand, every process of the lab
dies with it, and with them all mounts, links and namespaces. Only cgroups and the state folder stay
behind; `lab down` and the next `lab up` of that id remove them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.services import cgroups, database, kernel, machine, node, sshd
from tests.services.commands import listens, run, wait_until
from tests.services.failure import LabError
from tests.services.spec import (
    CONTROLLER,
    CONTROLLER_ADDRESS,
    REGISTRY_PORT,
    LabSpec,
    cache_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDLE_SECONDS = 60
READY = "ready"


@dataclass(frozen=True, slots=True)
class NodeHandle:
    """A node that is booting, as its parent knows it.

    Attributes:
        name: n1, n2, …
        pid: its first process, in the controller's pid namespace.
        network_fd: write a byte here when its eth0 exists.
        report_fd: says "ready", or why the node failed.
    """

    name: str
    pid: int
    network_fd: int
    report_fd: int


def remember_pid(state: Path, name: str) -> None:
    """Write down this process's pid and start time as the host sees them.

    Works because /proc is still the host's: its "self" link is in the host's numbers.
    """
    stat = Path("/proc/self/stat").read_text(encoding="ascii")
    start_time = stat.rpartition(")")[2].split()[19]
    folder = state / "pids"
    folder.mkdir(exist_ok=True)
    (folder / f".{name}").write_text(f"{os.readlink('/proc/self')} {start_time}\n")
    (folder / f".{name}").rename(folder / name)


def fork_machine(lab: str, name: str, become: Callable[[], None]) -> int:
    """Start a process that is the first of a machine's namespaces and cgroups.

    Args:
        lab: the lab's id.
        name: the machine's name.
        become: what that process does; it never returns from there.

    Returns:
        The process's pid in this pid namespace. It is made by a go-between (unshare(2) puts only
        children into a new pid namespace), so it is an orphan from the start.
    """
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        with _last_words():
            os.close(reader)
            cgroups.join(lab, name)
            kernel.unshare(kernel.MACHINE_NAMESPACES)
            first = os.fork()
            if first == 0:
                os.close(writer)
                become()
            os.write(writer, str(first).encode())
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 32)
    os.close(reader)
    os.waitpid(between, 0)
    if not answer:
        raise LabError(f"{name}: no namespaces; the reason is in the lab's boot.log")
    return int(answer)


@contextlib.contextmanager
def _last_words() -> Iterator[None]:
    """End the process on an error instead of running on in a copy of its parent's program."""
    try:
        yield
    except BaseException as error:  # noqa: BLE001 — a copy must never unwind into its parent's frames
        print(f"lab: {error}", file=sys.stderr, flush=True)
        os._exit(1)


class World:
    """The lab as its first process drives it."""

    def __init__(self, spec: LabSpec, key_folder: Path, report_fd: int) -> None:
        self._spec = spec
        self._key_folder = key_folder
        self._report_fd = report_fd
        self._base = spec.state / "world"
        self._munge_key = os.urandom(1024)

    def run(self) -> NoReturn:
        """Boot everything, say "ready" (or what failed) to the caller, then be init for ever."""
        this = machine.Machine(self._spec, CONTROLLER, self._base)
        try:
            self._boot(this)
        except (LabError, OSError) as error:
            os.write(self._report_fd, str(error).encode())
            os._exit(1)
        os.write(self._report_fd, READY.encode())
        os.close(self._report_fd)
        node.reap_for_ever(this)

    def _boot(self, this: machine.Machine) -> None:
        kernel.make_private()
        remember_pid(self._spec.state, CONTROLLER)
        machine.prepare_shared(self._base, self._key_folder)
        self._mount_registry_view()
        nodes = [self._fork_node(name) for name in self._spec.node_names]
        registry = self._base / "registry/merged"
        this.build(self._munge_key, self._key_folder, also={registry: "var/lib/docker-registry"})
        self._connect(nodes)
        machine.start_munge()
        if self._spec.database:
            database.start()
        run(["/usr/sbin/slurmctld", "-c"])
        self._start_registry()
        sshd.start()
        for one in nodes:
            self._wait_for(one)
        wait_until(self._all_idle, timeout_seconds=IDLE_SECONDS, what="all nodes are idle")
        wait_until(
            lambda: listens(CONTROLLER_ADDRESS, REGISTRY_PORT),
            timeout_seconds=IDLE_SECONDS,
            what="the registry answers",
        )

    def _fork_node(self, name: str) -> NodeHandle:
        network_reader, network_writer = os.pipe()
        report_reader, report_writer = os.pipe()

        def become() -> None:
            os.close(network_writer)
            os.close(report_reader)
            os.close(self._report_fd)
            this = machine.Machine(self._spec, name, self._base)
            try:
                kernel.make_private()
                remember_pid(self._spec.state, name)
                node.boot(this, self._munge_key, self._key_folder, network_reader)
            except (LabError, OSError) as error:
                os.write(report_writer, str(error).encode())
                os._exit(1)
            os.write(report_writer, READY.encode())
            os.close(report_writer)
            os.close(network_reader)
            node.reap_for_ever(this)

        pid = fork_machine(self._spec.name, name, become)
        os.close(network_reader)
        os.close(report_writer)
        return NodeHandle(name, pid, network_writer, report_reader)

    def _mount_registry_view(self) -> None:
        """Show the cached images copy-on-write: what a test pushes is gone with the lab."""
        folder = self._base / "registry"
        for name in ("merged", "upper", "work"):
            (folder / name).mkdir(parents=True)
        kernel.mount(
            "overlay",
            folder / "merged",
            "overlay",
            options=f"lowerdir={self._spec.registry_storage},"
            f"upperdir={folder / 'upper'},workdir={folder / 'work'}",
        )

    def _connect(self, nodes: list[NodeHandle]) -> None:
        """Make the lab's network: a bridge here, one link from it to each node."""
        lines = [
            "link add lab0 type bridge",
            f"addr add {CONTROLLER_ADDRESS}/24 dev lab0",
            "link set lab0 up",
        ]
        for one in nodes:
            lines += [
                f"link add {one.name} type veth peer name eth0 netns {one.pid}",
                f"link set {one.name} master lab0 up",
            ]
        run(["ip", "-batch", "-"], stdin_text="\n".join([*lines, ""]))
        for one in nodes:
            os.write(one.network_fd, b"!")
            os.close(one.network_fd)

    @staticmethod
    def _start_registry() -> None:
        with open("/var/log/registry.log", "ab") as log:
            subprocess.Popen(
                ["docker-registry", "serve", "/etc/hpcbox-lab-registry.yml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @staticmethod
    def _wait_for(one: NodeHandle) -> None:
        answer = os.read(one.report_fd, 4096).decode(errors="replace")
        os.close(one.report_fd)
        if answer != READY:
            raise LabError(answer or f"{one.name} died while it booted; see the lab's boot.log")

    def _all_idle(self) -> bool:
        try:
            idle = run(["sinfo", "--noheader", "--Node", "--states=idle", "--format=%N"])
        except LabError:  # slurmctld may still be reading its state
            return False
        return len(set(idle.split())) == self._spec.nodes


def main(spec_file: str, report_fd: int, owner_fd: int) -> None:
    """Become a lab.

    Args:
        spec_file: JSON of a LabSpec.
        report_fd: gets "ready" or the one line that says what failed.
        owner_fd: the lab ends when this delivers end-of-file; -1 for a lab that stays.
    """
    spec = LabSpec.from_json(Path(spec_file).read_text(encoding="utf-8"))
    key_folder = cache_root() / "ssh"
    world = World(spec, key_folder, report_fd)

    def become() -> None:
        # Without a handler the kernel keeps this signal from the first process of a pid namespace.
        signal.signal(signal.SIGTERM, lambda _signal, _frame: os._exit(0))
        if owner_fd >= 0:
            _end_with(owner_fd, report_fd)
        world.run()

    try:
        fork_machine(spec.name, CONTROLLER, become)
    except LabError as error:
        os.write(report_fd, str(error).encode())


def _end_with(owner_fd: int, report_fd: int) -> None:
    """Start a process that ends the lab when the owner closes its end of a pipe (dies)."""
    first = os.getpid()
    if os.fork() == 0:
        os.close(report_fd)
        os.read(owner_fd, 1)
        os.kill(first, signal.SIGTERM)
        os._exit(0)
    os.close(owner_fd)

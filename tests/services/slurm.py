"""A real Slurm cluster on this machine, up for as long as a with block (or until down() is called).

    with Cluster(nodes=3, profile="exact") as cluster:
        done = cluster.run(["srun", "-N3", "hostname"], user="alice")

Needs root. Everything the cluster is made of lives in namespaces of its own; what it leaves on the
host while it is up: one folder in the cache, one group per cgroup hierarchy, processes.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.services import accounts, cgroups, entering, images, install, lifetime, sshd
from tests.services.commands import require, wait_until
from tests.services.failure import LabError
from tests.services.spec import (
    CONTROLLER,
    MAX_NODES,
    PROFILES,
    REGISTRY,
    REPOSITORY,
    LabSpec,
    cache_root,
    check_name,
    state_root,
)
from tests.services.world import READY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

BOOT_SECONDS = 120
PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "srun": "slurm-client",
    "munged": "munge",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
DATABASE_PACKAGES = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.services.world import main
main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
"""


class Cluster:
    """One lab: start it, run commands in it, end it.

    Attributes:
        name: the lab's id.
        registry: HOST:PORT of its image registry, reachable from inside only, plain http.
    """

    registry = REGISTRY

    def __init__(
        self,
        *,
        nodes: int = 3,
        profile: str = "exact",
        name: str = "lab",
        plugin_missing_on: Sequence[str] = (),
        plugin: bool = True,
        database: bool = False,
        slurmd_seccomp: bool = False,
        with_images: bool = True,
    ) -> None:
        """Describe a lab; nothing starts before up() or the with block.

        Args:
            nodes: how many.
            profile: "exact" or "wide" (see conf_files.py).
            name: its id; labs with different ids live side by side.
            plugin_missing_on: machines (n2, ctl) that lack hpcbox's plugin.
            plugin: False leaves it out everywhere.
            database: with accounting (MariaDB, slurmdbd).
            slurmd_seccomp: no user namespaces below slurmd.
            with_images: build the images that the cache lacks first.

        Raises:
            LabError: a value makes no sense.
        """
        if not 1 <= nodes <= MAX_NODES:
            raise LabError(f"a lab has 1 to {MAX_NODES} nodes, not {nodes}")
        if profile not in PROFILES:
            raise LabError(f"there is no profile {profile} — use {' or '.join(PROFILES)}")
        self.name = check_name(name)
        spec = LabSpec(
            name=name,
            nodes=nodes,
            profile=profile,
            plugin_missing_on=tuple(plugin_missing_on),
            database=database,
            slurmd_seccomp=slurmd_seccomp,
            state=state_root() / name,
            installation=None,
            settings=None,
            shim=None,
            registry_storage=images.storage(),
        )
        unknown = set(plugin_missing_on) - set(spec.machines)
        if unknown:
            raise LabError(f"the lab has no machine {min(unknown)} to leave the plugin out on")
        if not plugin:
            spec = dataclasses.replace(spec, plugin_missing_on=spec.machines)
        self._spec = spec
        self._with_images = with_images
        self._owner_fd = -1

    @classmethod
    def attach(cls, name: str = "lab") -> Self:
        """The handle of a lab that is up already.

        Raises:
            LabError: it isn't.
        """
        check_name(name)
        file = state_root() / name / "spec.json"
        if not file.exists() or lifetime.first_process(name) is None:
            raise LabError(f"lab {name} isn't up — ./lab up{lifetime.id_flag(name)}")
        cluster = cls(name=name)
        cluster._spec = LabSpec.from_json(file.read_text(encoding="utf-8"))
        return cluster

    @property
    def spec(self) -> LabSpec:
        """What this lab is made of."""
        return self._spec

    @property
    def node_names(self) -> tuple[str, ...]:
        """The nodes' names: n1, n2, …."""
        return self._spec.node_names

    def __enter__(self) -> Self:
        """Start the lab; it ends with the block, and also when this process dies."""
        self.up(end_with_caller=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the lab and remove all it left."""
        self.down()

    def up(self, *, end_with_caller: bool = False) -> None:
        """Start the lab; on return all nodes are idle and the registry answers.

        Args:
            end_with_caller: end the lab when this process dies.

        Raises:
            LabError: it is up already, lacks something, or doesn't start (then nothing is left).
        """
        if os.geteuid() != 0:
            raise LabError("the lab makes namespaces and mounts — run it as root")
        require(PACKAGES | (DATABASE_PACKAGES if self._spec.database else {}))
        with lifetime.locked(self.name):
            if lifetime.first_process(self.name) is not None:
                raise LabError(
                    f"lab {self.name} is up already — ./lab down{lifetime.id_flag(self.name)}"
                )
            lifetime.remove_remains(self.name)
            self._prepare()
            try:
                self._boot(end_with_caller=end_with_caller)
            except BaseException:
                lifetime.remove_remains(self.name)
                raise

    def _prepare(self) -> None:
        if self._with_images:
            images.ensure()
        images.storage().mkdir(parents=True, exist_ok=True)
        sshd.keys(cache_root())
        plugin_wanted = set(self._spec.machines) - set(self._spec.plugin_missing_on)
        try:
            installed = install.ensure()
        except LabError as error:
            if plugin_wanted:
                raise
            # Plain Slurm needs no hpcbox; say so, as tests of hpcbox itself would miss it.
            print(f"lab: without /opt/hpcbox: {error}", file=sys.stderr)
            return
        self._spec = dataclasses.replace(
            self._spec,
            installation=installed.tree,
            settings=installed.settings,
            shim=install.ensure_shim() if plugin_wanted else None,
        )

    def _boot(self, *, end_with_caller: bool) -> None:
        state = self._spec.state
        state.mkdir(parents=True, mode=0o700)
        (state / "world").mkdir()
        (state / "spec.json").write_text(self._spec.to_json(), encoding="utf-8")
        cgroups.create(self.name, self._spec.machines)
        report_reader, report_writer = os.pipe()
        owner_reader = -1
        if end_with_caller:
            owner_reader, self._owner_fd = os.pipe()
        inherited = [fd for fd in (report_writer, owner_reader) if fd >= 0]
        with open(state / "boot.log", "wb") as log:
            subprocess.run(
                ["/usr/bin/python3", "-IS", "-c", BOOT, os.fspath(REPOSITORY),
                 os.fspath(state / "spec.json"), str(report_writer), str(owner_reader)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=inherited,
                env={"PATH": entering.PATH, "HPCBOX_LAB_CACHE": os.fspath(cache_root())},
                start_new_session=True, check=False,
            )  # fmt: skip
        for fd in inherited:
            os.close(fd)
        answer = lifetime.read_all(report_reader, BOOT_SECONDS)
        if answer != READY:
            log_text = (state / "boot.log").read_text(errors="replace").strip()
            raise LabError(answer or log_text or "the lab's first process died while it booted")

    def down(self) -> None:
        """End the lab, whatever state it is in, and remove all it left on the host.

        Raises:
            LabError: something survives.
        """
        with lifetime.locked(self.name):
            lifetime.remove_remains(self.name)
        if self._owner_fd >= 0:
            os.close(self._owner_fd)
            self._owner_fd = -1

    def first_pid(self, machine: str = CONTROLLER) -> int:
        """The pid, on the host, of a machine's first process; of ctl: the lab's first process.

        Raises:
            LabError: there is no such machine.
        """
        file = self._spec.state / "pids" / machine
        if machine not in self._spec.machines or not file.exists():
            raise LabError(f"lab {self.name} has no machine {machine}")
        return int(file.read_text(encoding="ascii").split()[0])

    def command(
        self,
        argv: Sequence[str],
        *,
        user: str = "alice",
        node: str = CONTROLLER,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> list[str]:
        """The host's command line that runs argv inside the lab.

        Args:
            argv: program and arguments.
            user: alice, bob, root or hpcbox.
            node: the machine to run on.
            env: variables beside HOME, USER, LOGNAME, SHELL, PATH and LANG.
            cwd: working directory; the user's home by default.

        Raises:
            LabError: no such user or machine.
        """
        return entering.command_line(
            argv,
            first_pid=self.first_pid(node),
            join_files=cgroups.join_files(self.name, node),
            account=accounts.named(user),
            env=env or {},
            cwd=cwd,
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str = "alice",
        node: str = CONTROLLER,
        input: str | bytes | None = None,  # noqa: A002 — the word subprocess uses
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout_seconds: float = 60,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the lab and collect what it writes.

        Args:
            argv: program and arguments.
            user: who runs it.
            node: where.
            input: what it reads; nothing by default.
            env: more variables.
            cwd: working directory.
            timeout_seconds: it is killed after this time.
            check: raise if its exit code isn't 0.

        Raises:
            subprocess.TimeoutExpired: it was killed.
            LabError: no such user or machine, or check and a bad exit code.
        """
        text = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            self.command(argv, user=user, node=node, env=env, cwd=cwd),
            input=b"" if text is None else text,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
        stdout, stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise LabError(f"{argv} ended with {done.returncode}: {stdout}{stderr}")
        return subprocess.CompletedProcess(argv, done.returncode, stdout, stderr)

    def start(
        self,
        argv: Sequence[str],
        *,
        user: str = "alice",
        node: str = CONTROLLER,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command inside the lab with pipes for its stdin, stdout and stderr; see run()."""
        return subprocess.Popen(
            self.command(argv, user=user, node=node, env=env, cwd=cwd),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def idle_nodes(self) -> set[str]:
        """The nodes that Slurm calls idle now."""
        words = ["sinfo", "--noheader", "--Node", "--states=idle", "--format=%N"]
        return set(self.run(words, check=True).stdout.split())

    def wait_idle(self, timeout_seconds: float = 10) -> None:
        """Wait until every node is idle; raises LabError after timeout_seconds."""
        wait_until(
            lambda: self.idle_nodes() == set(self.node_names),
            timeout_seconds=timeout_seconds,
            what="all nodes are idle",
        )

    def slurmd_pid(self, node: str) -> int | None:
        """Slurmd's pid as the node sees it, or None while there is none."""
        file = self.file(node, "/run/slurm/slurmd.pid")
        try:
            return int(file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def restart_slurmd(self, node: str, timeout_seconds: float = 10) -> None:
        """Stop a node's slurmd and start a new one; running steps go on.

        Raises:
            LabError: no new slurmd after timeout_seconds.
        """
        before = self.slurmd_pid(node)
        os.kill(self.first_pid(node), signal.SIGHUP)
        wait_until(
            lambda: self.slurmd_pid(node) not in {before, None},
            timeout_seconds=timeout_seconds,
            what=f"slurmd has restarted on {node}",
        )

    def file(self, node: str, path: str) -> Path:
        """A file or folder of a machine, as the host can open it (symlinks are the host's)."""
        return Path(f"/proc/{self.first_pid(node)}/root") / path.lstrip("/")

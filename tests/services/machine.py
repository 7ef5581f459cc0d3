"""One machine of the lab: the host's file system seen copy-on-write, everything else its own.

The root is an overlay over the host's root with a tmpfs on top, so no file, mount point or log of a
lab ever appears on the host, and all is gone with the machine's last process. Folders that the
host mounts separately aren't seen.

The node store is a folder on the host's disk (overlay and tmpfs can't take the file systems and
idmapped mounts that hpcbox stacks on it). It is bound, so it is a mount of its own (rename and link
don't cross it), but it shares its st_dev with the host's disk: another one needs a block device.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import accounts, cgroups, conf_files, kernel, sshd
from tests.services.commands import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.services.spec import LabSpec

HOST_MARKER = "hpcbox-lab-host"
# Private and empty on every machine: their content on the host is none of the lab's business.
EMPTY_FOLDERS = {
    "run": 0o755,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    "var/log": 0o755,
    "var/spool": 0o755,
}
SHARED_FOLDERS = ("home", "srv")
# Folder → owner, made in the machine's own file system.
DAEMON_FOLDERS = {
    "run/munge": "munge",
    "run/slurm": "slurm",
    "run/hpcbox": "root",
    "run/lock": "root",
    "var/log/munge": "munge",
    "var/log/slurm": "slurm",
    "var/spool/slurmctld": "slurm",
    "var/spool/slurmd": "root",
    "var/lib/munge": "munge",
}
PRIVATE_FOLDERS = frozenset({"run/hpcbox"})


def prepare_shared(base: Path, key_folder: Path) -> None:
    """Make the folders that all machines of the lab share, on a tmpfs at base.

    To be called once, before any machine copies the mount namespace.
    """
    kernel.tmpfs(base, 0o755)
    for name in SHARED_FOLDERS:
        (base / "shared" / name).mkdir(parents=True)
    (base / "shared/srv/shared").mkdir()
    (base / "shared/srv/shared").chmod(0o1777)
    accounts.make_homes(base / "shared/home")
    sshd.authorize(base / "shared/home", key_folder)


class Machine:
    """Builds one machine inside the namespaces that its first process has just got."""

    def __init__(self, spec: LabSpec, name: str, base: Path) -> None:
        self.spec = spec
        self.name = name
        self.root = base / "machines" / name / "root"
        self._base = base

    def build(
        self, munge_key: bytes, key_folder: Path, *, also: Mapping[Path, str] | None = None
    ) -> None:
        """Mount the machine's file systems, write its configuration, make it this process's root.

        Args:
            munge_key: the cluster's secret.
            key_folder: the lab's ssh keys.
            also: further folders to show, source → path below the root.
        """
        self._mount_root()
        self._mount_kernel_file_systems()
        self._mount_folders()
        for source, target in (also or {}).items():
            kernel.bind(source, self.root / target)
        self._write_etc(munge_key, key_folder)
        kernel.enter_root(self.root)
        os.environ.clear()
        os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", LANG="C.UTF-8")
        self._make_daemon_folders()
        socket.sethostname(self.name)

    def _mount_root(self) -> None:
        layers = self.root.parent
        for folder in (self.root, layers / "upper", layers / "work"):
            folder.mkdir(parents=True)
        kernel.mount(
            "overlay",
            self.root,
            "overlay",
            options=f"lowerdir=/,upperdir={layers / 'upper'},workdir={layers / 'work'}",
        )

    def _mount_kernel_file_systems(self) -> None:
        nothing_runs = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        kernel.mount("sysfs", self.root / "sys", "sysfs", nothing_runs)
        cgroups.mount_own(self.root / "sys/fs/cgroup")
        # Last: from here on /proc of the new root tells about the machine's own processes.
        kernel.mount("proc", self.root / "proc", "proc", nothing_runs)
        dev = self.root / "dev"
        kernel.mount("devtmpfs", dev, "devtmpfs", kernel.MS_NOSUID)
        kernel.mount("devpts", dev / "pts", "devpts", options="newinstance,mode=620,ptmxmode=666")
        kernel.tmpfs(dev / "shm", 0o1777)

    def _mount_folders(self) -> None:
        for name, mode in EMPTY_FOLDERS.items():
            kernel.tmpfs(self.root / name, mode)
        for name in SHARED_FOLDERS:
            kernel.bind(self._base / "shared" / name, self.root / name)
        store = self.spec.state / "stores" / self.name
        store.mkdir(parents=True)
        os.chown(store, accounts.SERVICE.uid, accounts.SERVICE.uid)
        store.chmod(0o700)
        kernel.bind(store, self.root / "var/lib/hpcbox")
        # What the host itself may have at /opt/hpcbox is never seen in a lab.
        shutil.rmtree(self.root / "opt/hpcbox", ignore_errors=True)
        if self.spec.installation is not None:
            kernel.bind(self.spec.installation, self.root / "opt/hpcbox", read_only=True)

    def _write_etc(self, munge_key: bytes, key_folder: Path) -> None:
        etc = self.root / "etc"
        accounts.write(etc)
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / HOST_MARKER).write_text(f"{self.spec.name} {self.name}\n")
        conf_files.write(etc, self.spec, self.name)
        sshd.write(etc, key_folder)
        for folder in (etc / "munge", self.root / "var/lib/munge"):
            shutil.rmtree(folder, ignore_errors=True)
        (etc / "munge").mkdir(mode=0o700)
        key = etc / "munge/munge.key"
        key.touch(mode=0o600)
        key.write_bytes(munge_key)
        for path in (etc / "munge", key):
            shutil.chown(path, "munge", "munge")
        if self.spec.installation is not None:
            command = self.root / "usr/local/bin/hpcbox"
            command.unlink(missing_ok=True)
            command.symlink_to("/opt/hpcbox/bin/hpcbox")
        if self.spec.shim is not None:
            plugins = next(self.root.glob("usr/lib/*/slurm-wlm"))
            shutil.copyfile(self.spec.shim, plugins / "hpcbox.so")

    def _make_daemon_folders(self) -> None:
        for name, owner in DAEMON_FOLDERS.items():
            folder = Path("/", name)
            folder.mkdir(mode=0o700 if name in PRIVATE_FOLDERS else 0o755)
            shutil.chown(folder, owner, owner)
        run(["ip", "link", "set", "lo", "up"])


def start_munge() -> None:
    """Start munged on this machine; it goes to the background by itself."""
    run(["/usr/sbin/munged"], user="munge")

"""OpenSSH in the lab: every machine runs sshd, alice and bob reach every machine by key."""

from __future__ import annotations

import os
from pathlib import Path

from tests.services import accounts
from tests.services.commands import run
from tests.services.spec import CONF

HOST_KEY = Path("/etc/ssh/hpcbox_lab_host_key")


def keys(cache: Path) -> Path:
    """The folder with the lab's key pairs (the hosts', alice's, bob's), made once.

    They protect nothing: the network they are used on doesn't leave this machine.
    """
    folder = cache / "ssh"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("host", *(account.name for account in accounts.PEOPLE)):
        if not (folder / f"{name}.pub").exists():
            (folder / name).unlink(missing_ok=True)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {name}",
                 "-f", os.fspath(folder / name)])  # fmt: skip
    return folder


def write(etc: Path, key_folder: Path) -> None:
    """Put sshd's configuration, its host key and everybody's known_hosts into a machine's etc."""
    ssh = etc / "ssh"
    ssh.mkdir(exist_ok=True)
    host_key = etc.parent / HOST_KEY.relative_to("/")
    host_key.write_bytes((key_folder / "host").read_bytes())
    host_key.chmod(0o600)
    (ssh / "sshd_config").write_text((CONF / "sshd_config").read_text())
    public = (key_folder / "host.pub").read_text()
    (ssh / "ssh_known_hosts").write_text(f"ctl,n*,10.77.0.* {public}")


def authorize(home: Path, key_folder: Path) -> None:
    """Give alice and bob a key each that opens their account on every machine (home is shared)."""
    for account in accounts.PEOPLE:
        folder = home / account.name / ".ssh"
        folder.mkdir(mode=0o700)
        (folder / "id_ed25519").write_bytes((key_folder / account.name).read_bytes())
        (folder / "authorized_keys").write_bytes((key_folder / f"{account.name}.pub").read_bytes())
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.uid, account.uid)
        (folder / "id_ed25519").chmod(0o600)


def start() -> None:
    """Start sshd on this machine; it goes to the background by itself."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    run(["/usr/sbin/sshd"])

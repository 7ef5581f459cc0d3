"""Users who exist inside a lab only: alice, bob and hpcbox's service user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.services.failure import LabError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """One line of passwd and one of group (the uid is the gid)."""

    name: str
    uid: int
    home: str
    shell: str

    @property
    def passwd_line(self) -> str:
        """passwd(5); "*" instead of "x" because there is no shadow entry and sshd would refuse."""
        return f"{self.name}:*:{self.uid}:{self.uid}::{self.home}:{self.shell}"

    @property
    def group_line(self) -> str:
        """The user's own group, group(5)."""
        return f"{self.name}:x:{self.uid}:"


ALICE = Account("alice", 2001, "/home/alice", "/bin/bash")
BOB = Account("bob", 2002, "/home/bob", "/bin/bash")
SERVICE = Account("hpcbox", 990, "/nonexistent", "/usr/sbin/nologin")
ROOT = Account("root", 0, "/root", "/bin/bash")
PEOPLE = (ALICE, BOB)
ADDED = (*PEOPLE, SERVICE)


def named(name: str) -> Account:
    """The account that commands in the lab can run as.

    Raises:
        LabError: there is no such user.
    """
    for account in (ROOT, *ADDED):
        if account.name == name:
            return account
    raise LabError(f"the lab has no user {name} — it has root, alice, bob and hpcbox")


def _with_ours(text: str, ours: list[str], taken: set[str]) -> str:
    """The host's lines without those whose name or number we use, then our lines."""
    kept = []
    for line in text.splitlines():
        fields = line.split(":")
        if fields[0] not in taken and fields[2] not in taken:
            kept.append(line)
    return "\n".join([*kept, *ours, ""])


def write(etc: Path) -> None:
    """Add the lab's users to the passwd and group files below etc."""
    taken = {word for account in ADDED for word in (account.name, str(account.uid))}
    for file, ours in (
        ("passwd", [account.passwd_line for account in ADDED]),
        ("group", [account.group_line for account in ADDED]),
    ):
        path = etc / file
        path.write_text(_with_ours(path.read_text(encoding="utf-8"), ours, taken), encoding="utf-8")


def make_homes(home: Path) -> None:
    """Make alice's and bob's home folders below home."""
    for account in PEOPLE:
        folder = home / account.name
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.uid)

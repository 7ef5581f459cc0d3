"""A user namespace in which a user may mount: they are themself in it, and nobody else is anybody.

Needs no administrator where the kernel allows unprivileged user namespaces; where it doesn't, the
error says which switch an administrator would turn. user_namespaces(7).
"""

import os

from hpcbox import kernel
from hpcbox.errors import NodeSetupFailed

# Switch, the value that forbids, and what to ask for; the first that applies is named.
_SWITCHES = (
    ("user/max_user_namespaces", "0", "set user.max_user_namespaces to 10000"),
    ("kernel/unprivileged_userns_clone", "0", "set kernel.unprivileged_userns_clone to 1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "set kernel.apparmor_restrict_unprivileged_userns to 0, or allow 'userns' for Python",
    ),
)


def enter() -> None:
    """Move this process to new user and mount namespaces; its next child begins a pid namespace.

    Raises:
        NodeSetupFailed: the kernel refused; the hint says what to ask the administrator for.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
        # Only without setgroups may a user map their group: it could drop a group that denies.
        _write("setgroups", "deny")
        _write("uid_map", f"{uid} {uid} 1\n")
        _write("gid_map", f"{gid} {gid} 1\n")
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_SLAVE)
    except OSError as error:
        raise NodeSetupFailed(
            f"this node refuses user namespaces: {error.strerror}", hint=_what_to_ask()
        ) from error


def _write(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
        file.write(text)


def _what_to_ask() -> str:
    node = os.uname().nodename.partition(".")[0]
    for name, forbidding, request in _SWITCHES:
        try:
            with open(f"/proc/sys/{name}", encoding="ascii") as file:
                value = file.read().strip()
        except OSError:
            continue
        if value == forbidding:
            return f"ask the administrator of {node} to {request}"
    return (
        f"ask the administrator of {node} to allow unprivileged user namespaces (a seccomp filter, "
        "a chroot or a security module forbids them here), or to install hpcbox's Slurm plugin"
    )

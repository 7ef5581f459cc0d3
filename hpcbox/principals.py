"""The three principals: job's user, service user, root. Only here a process changes its uid.

Root forks, and executes mounts that are made of descriptors; the service user reads and writes
the store; the job's user holds credentials and opens what the user may open. A process that
became one of the last two can't go back and can't be traced by other processes of its account.

Loaded by the node program: standard library only.
"""

import os
import pwd
import signal

from hpcbox import kernel
from hpcbox.errors import NodeSetupFailed


def service_account(name: str) -> tuple[int, int]:
    """Return (uid, gid) of the service user.

    Raises:
        NodeSetupFailed: the account doesn't exist or is root.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise NodeSetupFailed(
            f"the service user '{name}' does not exist on this node",
            hint=f"an administrator creates it with 'useradd --system {name}'",
        ) from error
    if entry.pw_uid == 0:
        raise NodeSetupFailed("the service user must not be root", hint="set service_user")
    return entry.pw_uid, entry.pw_gid


def become(uid: int, gid: int, groups: tuple[int, ...] = ()) -> None:
    """Turn this process, for good, into the account `uid`; root is refused.

    Raises:
        NodeSetupFailed: the account is root or the kernel refused.
    """
    if uid == 0:
        raise NodeSetupFailed("root is no account to become")
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise NodeSetupFailed(f"cannot become uid {uid}: {error.strerror}") from error
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    # Other processes of the account must not trace this one: it may hold descriptors they lack.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def become_service(service_user: str) -> None:
    """As root, become the service user; as anybody else, do nothing."""
    if os.geteuid() == 0 and service_user:
        become(*service_account(service_user))

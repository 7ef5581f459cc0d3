"""The three principals: job's user, service user, root. Only here a process changes its uid.

Root forks, and executes mounts that are made of descriptors; the service user reads and writes
the store; the job's user holds credentials and opens what the user may open. A process that
became one of the last two can't go back and can't be traced by other processes of its account.

Loaded by the node program: standard library only.
"""

import os
import pwd

from hpcbox import kernel, packets
from hpcbox.errors import HpcboxError, NodeSetupFailed, one_line

# closerange(3) is one close_range(2) call: the bound costs nothing.
_LAST_DESCRIPTOR = 2**20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Role = Callable[[packets.Socket], None]


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


def become(
    uid: int,
    gid: int,
    groups: tuple[int, ...] = (),
    death_signal: int = kernel.SIGKILL,
) -> None:
    """Turn this process, for good, into the account `uid`; root is refused.

    `death_signal` comes when the parent dies: whoever has something to tidy up takes SIGTERM.

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
    kernel.prctl(kernel.PR_SET_PDEATHSIG, death_signal)


def become_service(service_user: str) -> None:
    """As root, become the service user; as anybody else, do nothing."""
    if os.geteuid() == 0 and service_user:
        become(*service_account(service_user))


def fork(
    account: tuple[int, int, tuple[int, ...]],
    role: "Role",
    socket: packets.Socket,
    *,
    keep: tuple[int, ...] = (),
    network: bool = True,
    death_signal: int = kernel.SIGKILL,
) -> int:
    """Run a role in a child that has become an account; return its pid.

    The child talks over `socket`; errors go there as an E packet with their text. Of this
    process's other descriptors it has 0, 1, 2 and those of `keep`. It has no network when it is to
    parse what came from one. There is no exec in between: a program started
    as the user could be traced by the user's other processes until it had protected itself.
    """
    child = os.fork()
    if child != 0:
        return child
    status = 1
    try:
        close_all_but(socket.fileno(), *keep)
        if not network:
            kernel.unshare(kernel.CLONE_NEWNET)
        become(*account, death_signal)
        role(socket)
        status = 0
    except HpcboxError as error:
        _say(socket, str(error))
    except Exception as error:  # noqa: BLE001 - the child's end: whatever it is must be told
        _say(socket, f"a defect: {type(error).__name__}: {error}")
    finally:
        os._exit(status)


def _say(socket: packets.Socket, text: str) -> None:
    try:
        packets.send(socket, b"E", one_line(text).encode())
    except OSError:
        return


def close_all_but(*kept: int) -> None:
    """Close this process's descriptors except 0, 1, 2 and these."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _LAST_DESCRIPTOR)

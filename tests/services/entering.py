"""The command line that runs something inside a machine of a lab, as one of its users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services import accounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
# Become part of the machine's cgroups, then exec the rest; "--" ends the list of cgroup files.
JOIN_AND_EXEC = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@"'


def command_line(
    argv: Sequence[str],
    *,
    first_pid: int,
    join_files: Sequence[str],
    account: accounts.Account,
    env: Mapping[str, str],
    cwd: str | None,
) -> list[str]:
    """What to execute on the host, as root, so that argv runs inside.

    Args:
        argv: program and arguments.
        first_pid: the machine's first process, whose namespaces and root are entered.
        join_files: the cgroup.procs files of the machine.
        account: who runs it.
        env: variables beside HOME, USER, LOGNAME, SHELL, PATH and LANG.
        cwd: working directory; the user's home by default.
    """
    variables = {
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "PATH": PATH,
        "LANG": "C.UTF-8",
        **env,
    }
    folder = cwd or ("/" if account == accounts.SERVICE else account.home)
    return [
        *("/bin/sh", "-c", JOIN_AND_EXEC, "lab", *join_files, "--"),
        *("/usr/bin/nsenter", f"--target={first_pid}"),
        *("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd=/", "--"),
        *("/usr/bin/setpriv", f"--reuid={account.uid}", f"--regid={account.uid}"),
        # The command dies with its caller even when nothing else tells it to end.
        *("--init-groups", "--pdeathsig=KILL", "--"),
        *("/usr/bin/env", "-i", f"--chdir={folder}"),
        *(f"{name}={value}" for name, value in variables.items()),
        *argv,
    ]

"""The node's files that a container needs: passwd and group entries, hosts, DNS, time zone.

Written into the writable upper of the root by the job's user, who owns the root: the image's own
entries stay, the user's are added. Copies, not mounts: an image may have a symlink or nothing at
these places. Loaded on every node and step; runs as the job's user.
"""

import grp
import os
import pwd

from hpcbox import kernel

_LOOKUP = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
_MAX_BYTES = 4 * 2**20
_COPIED = ("hosts", "resolv.conf", "localtime")


def write_files(root: int) -> None:
    """Give the container root of a descriptor its identity files.

    What can't be written (a read-only or odd /etc in the image) is left as the image has it: a
    program that needs it will say so better than we could.
    """
    try:
        etc = kernel.openat2(root, "etc", os.O_PATH | os.O_DIRECTORY, _LOOKUP)
    except OSError:
        return
    try:
        _add_line(etc, "passwd", _passwd_line(), os.getuid())
        for gid in sorted({os.getgid(), *os.getgroups()}):
            _add_line(etc, "group", _group_line(gid), gid)
        for name in _COPIED:
            _copy(f"/etc/{name}", etc, name)
    finally:
        os.close(etc)


def _passwd_line() -> str:
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return f"user{uid}:x:{uid}:{os.getgid()}::/:/bin/sh\n"
    shell = entry.pw_shell or "/bin/sh"
    return f"{entry.pw_name}:x:{uid}:{os.getgid()}:{entry.pw_gecos}:{entry.pw_dir}:{shell}\n"


def _group_line(gid: int) -> str:
    try:
        name = grp.getgrgid(gid).gr_name
    except KeyError:
        name = f"group{gid}"
    return f"{name}:x:{gid}:\n"


def _add_line(etc: int, name: str, line: str, number: int) -> None:
    """Add an entry unless the image has one with the same name or number."""
    old = _read(etc, name)
    own_name = line.partition(":")[0]
    entries = [entry.split(":") for entry in old.splitlines() if entry]
    if any(
        len(entry) > 2 and entry[0] == own_name and entry[2] == str(number) for entry in entries
    ):
        return
    # First of its kind: tools take the first entry of a name or number.
    _write(etc, name, line + old)


def _read(etc: int, name: str) -> str:
    try:
        descriptor = kernel.openat2(etc, name, os.O_RDONLY | os.O_NONBLOCK, _LOOKUP)
    except OSError:
        return ""
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(_MAX_BYTES)


def _copy(source: str, etc: int, name: str) -> None:
    try:
        with open(source, "rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError:
        return
    _write(etc, name, data.decode("utf-8", "surrogateescape"))


def _write(etc: int, name: str, text: str) -> None:
    """Replace what stands at the name, which may be a symlink to anywhere, by a plain file."""
    temporary = f".{name}.hpcbox"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o644, dir_fd=etc)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.rename(temporary, name, src_dir_fd=etc, dst_dir_fd=etc)
    except OSError:
        return

"""Linux system calls that Python 3.11's os module lacks: path resolution, namespaces, mounts.

Thin functions named like the calls, with the kernel's own flag names; each raises OSError whose
text begins with the name of the call (`open_tree: No such file or directory`). Nothing here decides
anything: who may mount what is the callers' business. Each call is described by the manual page
of its name in section 2; structures and numbers stand in linux/openat2.h, linux/mount.h and
linux/prctl.h. Calls made after Linux 5.0 have one number on every architecture. Each node and step
loads this module, so it uses the standard library only.
"""

import ctypes
import errno
import os
import struct

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

OPEN_TREE_CLONE = 0x1
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x00100000

# signal(7), the same on x86 and ARM; the signal module costs enum.
SIGHUP = 1
SIGINT = 2
SIGQUIT = 3
SIGKILL = 9
SIGUSR1 = 10
SIGUSR2 = 12
SIGTERM = 15
SIGCHLD = 17
SIGTTOU = 22
# si_code of a signal that the kernel sent by itself, as a terminal's SIGINT; sigaction(2).
SI_KERNEL = 0x80

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_FSOPEN_CLOEXEC = 0x1
_FSMOUNT_CLOEXEC = 0x1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_SET_FD = 5
_FSCONFIG_CMD_CREATE = 6
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_SIGSET_BYTES = 128
_SIG_BLOCK = 0
_SFD_CLOEXEC = os.O_CLOEXEC
_SIGNAL_BYTES = 128
_STATFS_BYTES = 256

_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
# pivot_root is older than the unified numbers: asm/unistd_64.h on x86, asm-generic/unistd.h else.
_SYS_PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

_Path = str | bytes
_Argument = int | bytes | None


def openat2(directory: int, path: _Path, flags: int, resolve: int, mode: int = 0) -> int:
    """Open a path below a directory descriptor under RESOLVE_* rules; O_CLOEXEC is added.

    Raises OSError: EXDEV for a path that leaves the directory (RESOLVE_BENEATH), ELOOP for a
    refused symlink. EAGAIN (the kernel could not prove that a `..` raced with nothing) is retried.
    Linux 5.6.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    attempts_left = 128
    while True:
        try:
            return _call("openat2", _SYS_OPENAT2, directory, _path(path), how, len(how))
        except BlockingIOError:
            attempts_left -= 1
            if attempts_left == 0:
                raise


def release() -> tuple[int, int]:
    """Return the first two numbers of the running kernel's version: (6, 1) for `6.1.0-13-amd64`."""
    major, minor = os.uname().release.split(".")[:2]
    digits = minor[: len(minor) - len(minor.lstrip("0123456789"))]
    return int(major), int(digits)


def file_system_type(place: _Path | int) -> int:
    """Return the number of the file system of a path or descriptor, as linux/magic.h has it.

    statfs(2).
    """
    status = ctypes.create_string_buffer(_STATFS_BYTES)
    if isinstance(place, int):
        _check("fstatfs", _LIBC.fstatfs(ctypes.c_int(place), status))
    else:
        _check("statfs", _LIBC.statfs(ctypes.c_char_p(_path(place)), status))
    # On 64-bit machines f_type is the first long, and all of ours are.
    return ctypes.c_long.from_buffer(status).value


def unshare(flags: int) -> None:
    """Move this process into new namespaces (CLONE_NEW*)."""
    _check("unshare", _LIBC.unshare(ctypes.c_int(flags)))


def setns(namespace: int, kind: int = 0) -> None:
    """Enter the namespace of a descriptor; kind is its CLONE_NEW* flag, 0 for any."""
    _check("setns", _LIBC.setns(ctypes.c_int(namespace), ctypes.c_int(kind)))


def mount(
    source: _Path | None,
    target: _Path,
    kind: str | None,
    flags: int = 0,
    options: _Path | None = None,
) -> None:
    """Mount by path. Flags are MS_*; None stands for a null pointer."""
    result = _LIBC.mount(
        _encoded(source), _encoded(target), _encoded(kind), ctypes.c_ulong(flags), _encoded(options)
    )
    _check("mount", result)


def umount2(target: _Path, flags: int = 0) -> None:
    """Unmount; flags are MNT_DETACH, UMOUNT_NOFOLLOW."""
    _check("umount2", _LIBC.umount2(_encoded(target), ctypes.c_int(flags)))


def pivot_root(new_root: _Path, put_old: _Path) -> None:
    """Make a mount the root of this mount namespace. Both paths may be "."."""
    _call("pivot_root", _SYS_PIVOT_ROOT, _path(new_root), _path(put_old))


def open_tree(directory: int, path: _Path, flags: int = 0) -> int:
    """A descriptor of a mount; with OPEN_TREE_CLONE a detached copy of it.

    AT_RECURSIVE copies all mounts below it too. `path` may be empty with AT_EMPTY_PATH: then
    `directory` itself is meant. Linux 5.2.
    """
    return _call("open_tree", _SYS_OPEN_TREE, directory, _path(path), flags | _OPEN_TREE_CLOEXEC)


def move_mount(tree: int, directory: int, path: _Path = "") -> None:
    """Attach the mount of a descriptor at a path below `directory`, or at `directory` itself.

    The last component is not followed when it is a symlink. Linux 5.2.
    """
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if path else MOVE_MOUNT_T_EMPTY_PATH)
    _call("move_mount", _SYS_MOVE_MOUNT, tree, b"", directory, _path(path), flags)


def fsopen(kind: str) -> int:
    """A context in which a new file system of this kind is configured. Linux 5.2."""
    return _call("fsopen", _SYS_FSOPEN, kind.encode(), _FSOPEN_CLOEXEC)


def fsconfig_flag(context: int, key: str) -> None:
    """Set an option that has no value, as `ro` or `userxattr`. Raises as fsconfig_string does."""
    _configure(context, _FSCONFIG_SET_FLAG, key, None, 0)


def fsconfig_string(context: int, key: str, text: _Path) -> None:
    """Set an option, as `source` or `lowerdir+`.

    Raises OSError whose text holds what the kernel wrote into the context's log, which says more
    than the number.
    """
    _configure(context, _FSCONFIG_SET_STRING, key, _path(text), 0)


def fsconfig_descriptor(context: int, key: str, descriptor: int) -> None:
    """Set an option to an open file or directory. overlay's `lowerdir+` takes one since 6.13."""
    _configure(context, _FSCONFIG_SET_FD, key, None, descriptor)


def fsconfig_create(context: int) -> None:
    """Create the file system from what was configured. Raises as fsconfig_string does."""
    _configure(context, _FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(context: int, attributes: int = 0) -> int:
    """A detached mount of the created file system with MOUNT_ATTR_* attributes."""
    return _call("fsmount", _SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes)


def mount_setattr(
    tree: int,
    *,
    attributes: int = 0,
    cleared: int = 0,
    propagation: int = 0,
    user_namespace: int = 0,
    recursive: bool = False,
) -> None:
    """Change the mount of a descriptor.

    Takes MOUNT_ATTR_* to set and to clear, MS_PRIVATE or MS_SLAVE as propagation, and with
    MOUNT_ATTR_IDMAP a descriptor of the user namespace whose maps are meant. Linux 5.12.
    """
    change = struct.pack("=QQQQ", attributes, cleared, propagation, user_namespace)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _call("mount_setattr", _SYS_MOUNT_SETATTR, tree, b"", flags, change, len(change))


def prctl(option: int, argument: int = 0) -> int:
    """Operate on this process; PR_* names the operation."""
    rest = [ctypes.c_ulong(value) for value in (argument, 0, 0, 0)]
    return _check("prctl", _LIBC.prctl(ctypes.c_int(option), *rest))


def drop_capabilities() -> None:
    """Give up every capability for good: no program that is executed later can gain one.

    The bounding set goes first, which needs CAP_SETPCAP; without it (a process that had no
    capability anyway) it stays, and no_new_privs alone keeps programs from gaining any.
    capabilities(7).
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            # EINVAL: beyond the last one that this kernel has. EPERM: see above.
            break
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    _check("capset", _LIBC.capset(ctypes.c_char_p(header), ctypes.c_char_p(bytes(24))))


def signal_descriptor(*numbers: int) -> int:
    """Block signals in this thread; return a descriptor from which they can be read instead.

    Blocked signals stay so over fork and exec unless whoever does that takes care. signalfd(2).
    """
    signals = ctypes.create_string_buffer(_SIGSET_BYTES)
    _LIBC.sigemptyset(signals)
    for number in numbers:
        _check("sigaddset", _LIBC.sigaddset(signals, ctypes.c_int(number)))
    _LIBC.pthread_sigmask(ctypes.c_int(_SIG_BLOCK), signals, None)
    return _check("signalfd", _LIBC.signalfd(ctypes.c_int(-1), signals, ctypes.c_int(_SFD_CLOEXEC)))


def read_signal(descriptor: int) -> tuple[int, int]:
    """Wait for a signal of `signal_descriptor`; return its number and its si_code."""
    number, _errno, code = struct.unpack_from("=Iii", os.read(descriptor, _SIGNAL_BYTES))
    return number, code


def pidfd_send_signal(process: int, number: int) -> None:
    """Send a signal to the process of a pidfd, whatever its pid means by now. Linux 5.1."""
    _call("pidfd_send_signal", _SYS_PIDFD_SEND_SIGNAL, process, number, None, 0)


def syncfs(descriptor: int) -> None:
    """Write all that the file system of this descriptor holds in memory, and wait for it.

    Raises OSError when a write to it failed since the descriptor was opened. Linux 5.8.
    """
    _check("syncfs", _LIBC.syncfs(ctypes.c_int(descriptor)))


def _configure(
    context: int, command: int, key: str | None, text: bytes | None, number: int
) -> None:
    name = None if key is None else key.encode()
    try:
        _call("fsconfig", _SYS_FSCONFIG, context, command, name, text, number)
    except OSError as error:
        said = _context_log(context)
        if said:
            raise OSError(error.errno, f"{error.strerror}: {said}") from error
        raise


def _context_log(context: int) -> str:
    # Each read gives one line, as "e overlay: …"; ENODATA ends the log.
    lines: list[str] = []
    try:
        while len(lines) < 16:
            lines.append(os.read(context, 1024).decode("utf-8", "replace").strip())
    except OSError:
        pass
    return "; ".join(line.removeprefix("e ") for line in lines if line)


def _encoded(path: _Path | None) -> ctypes.c_char_p:
    return ctypes.c_char_p(None if path is None else _path(path))


def _path(path: _Path) -> bytes:
    # The kernel would read up to the NUL only: a name that was checked and another that is used.
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise OSError(errno.EINVAL, "a path holds a NUL byte", path)
    return encoded


def _call(name: str, number: int, *arguments: _Argument) -> int:
    # Each argument has the width of a register: an int passed as it is would be a C int, whose
    # upper half in the register is undefined.
    wide = [
        ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_char_p(argument)
        for argument in arguments
    ]
    return _check(name, _LIBC.syscall(ctypes.c_long(number), *wide))


def _check(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result

"""A system-call filter that forbids user namespaces (the sysctl isn't always writable)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from tests.services.failure import LabError

CLONE_NEWUSER = 0x10000000
# asm/unistd_64.h
_SYS_CLONE = 56
_SYS_UNSHARE = 272
_SYS_CLONE3 = 435
_AUDIT_ARCH_X86_64 = 0xC000003E
# linux/filter.h, linux/bpf_common.h
_LOAD = 0x20
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_BIT = 0x45
_RETURN = 0x06
# linux/seccomp.h
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
# Offsets in struct seccomp_data: number, architecture, low half of the first argument.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


def _program() -> bytes:
    """The filter: EPERM for CLONE_NEWUSER; ENOSYS for clone3, whose flags lie in memory."""
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 8, _AUDIT_ARCH_X86_64),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 5, 0, _SYS_CLONE3),
        (_JUMP_IF_EQUAL, 1, 0, _SYS_UNSHARE),
        (_JUMP_IF_EQUAL, 0, 4, _SYS_CLONE),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_BIT, 0, 2, CLONE_NEWUSER),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *one) for one in instructions)


def forbid_user_namespaces() -> None:
    """Put the filter on this process and all it will start; needs CAP_SYS_ADMIN."""
    if os.uname().machine != "x86_64":
        raise LabError("--slurmd-seccomp knows the system call numbers of x86_64 only")
    code = ctypes.create_string_buffer(_program())
    # struct sock_fprog: unsigned short len, then a pointer.
    program = struct.pack("@HxxxxxxQ", len(_program()) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) != 0:
        raise LabError(f"can't set a seccomp filter: {os.strerror(ctypes.get_errno())}")

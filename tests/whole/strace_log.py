"""Reads an strace log of a process tree and follows each process's effective uid.

Made for `strace -f -y -e trace=%file,%creds,%process,read,pread64 -o FILE`: one call a line, the
pid first, descriptors shown with their paths.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)$")
_RESULT = re.compile(r"= (-?\d+)")
_SETS_EUID = {"setuid": 0, "seteuid": 0, "setreuid": 1, "setresuid": 1}


class Call(NamedTuple):
    """One successful or failed call of a process.

    Attributes:
        pid: who called.
        euid: its effective uid at that moment.
        program: what it executes, as the path of its last execve.
        name: the call.
        arguments: the text between the parentheses and the result, as strace shows it.
    """

    pid: int
    euid: int
    program: str
    name: str
    arguments: str


class _Process:
    def __init__(self, euid: int, program: str) -> None:
        self.euid = euid
        self.program = program
        self.pending = ""


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Yield every call; the first process seen is root."""
    processes: dict[int, _Process] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        pid, text = int(match[1]), match[2]
        process = processes.setdefault(pid, _Process(0, "slurmd"))
        if text.endswith("<unfinished ...>"):
            process.pending = text.removesuffix("<unfinished ...>")
            text = process.pending
            if not text.startswith(("clone", "fork", "vfork")):
                continue
        resumed = _RESUMED.match(text)
        if resumed is not None:
            text = process.pending + resumed[2]
        call = _CALL.match(text)
        if call is None:
            continue
        yield Call(pid, process.euid, process.program, call[1], call[2])
        _follow(processes, process, call[1], call[2])


def _follow(processes: dict[int, _Process], process: _Process, name: str, rest: str) -> None:
    result = _RESULT.search(rest.rsplit(")", 1)[-1])
    value = int(result[1]) if result is not None else -1
    if name in ("clone", "clone3", "fork", "vfork") and value > 0:
        processes[value] = _Process(process.euid, process.program)
    elif name in _SETS_EUID and value == 0:
        words = rest.split(")", maxsplit=1)[0].split(",")
        euid = words[_SETS_EUID[name]].strip()
        if euid not in ("-1", "4294967295"):
            process.euid = int(euid)
    elif name == "execve" and value == 0:
        process.program = rest.split('"')[1]

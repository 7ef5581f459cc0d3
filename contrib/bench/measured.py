"""One command's cost: wall and CPU time, memory, bytes written. Needs root and a cgroup2 mount.

The command and all that it starts are in a cgroup of their own, so that nobody else is counted.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from hpcbox import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SAMPLE_SECONDS = 0.02
_SECTOR = 512
_JOIN = 'echo 0 >"$0" && exec "$@"'


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took.

    Attributes:
        wall_seconds: from its start until all that it wrote is on disk.
        cpu_seconds: user and system time of it and all that it started.
        kernel_seconds: the system's part of that.
        memory_bytes: the largest sum, over its processes at one time, of their own peaks (VmHWM).
        written_bytes: file content that its processes wrote, whether it reached the disk or not.
        disk_bytes: what the disk below the folder wrote meanwhile, for whomever.
        output: its stdout.
    """

    wall_seconds: float
    cpu_seconds: float
    kernel_seconds: float
    memory_bytes: int
    written_bytes: int
    disk_bytes: int
    output: str


def measure(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Cost:
    """Run a command that writes below a folder, and wait until that is on disk.

    Raises:
        SystemExit: the command failed.
    """
    synced(folder)
    with _group() as group, TemporaryFile() as output, TemporaryFile() as errors:
        disk_before = _disk_bytes(folder)
        start = time.perf_counter()
        process = subprocess.Popen(
            ["sh", "-c", _JOIN, str(group / "cgroup.procs"), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
        )
        memory = _watched(process.pid, group)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            text = errors.read()[-2000:].decode("utf-8", "replace")
            raise SystemExit(f"{' '.join(argv)} ended with {process.returncode}: {text.strip()}")
        synced(folder)
        wall = time.perf_counter() - start
        output.seek(0)
        return Cost(
            wall_seconds=wall,
            cpu_seconds=_cpu_seconds(group, "usage_usec"),
            kernel_seconds=_cpu_seconds(group, "system_usec"),
            memory_bytes=memory,
            written_bytes=usage.ru_oublock * _SECTOR,
            disk_bytes=_disk_bytes(folder) - disk_before,
            output=output.read().decode(),
        )


def synced(folder: Path) -> None:
    """Wait until the file system below a folder has nothing left to write."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        kernel.syncfs(descriptor)
    finally:
        os.close(descriptor)


def occupied_bytes(folder: Path) -> int:
    """What a folder's files take on disk, each hardlinked file once."""
    taken: dict[int, int] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(parent, name))
            taken[status.st_ino] = status.st_blocks * _SECTOR
    return sum(taken.values())


@contextmanager
def _group() -> Iterator[Path]:
    top = _hierarchy() / f"hpcbox-bench-{os.getpid()}"
    top.mkdir()
    try:
        yield top
    finally:
        # What outlived its command keeps the group busy: nothing of a peer should.
        (top / "cgroup.kill").write_text("1")
        while True:
            with suppress(OSError):
                top.rmdir()
                break
            time.sleep(_SAMPLE_SECONDS)


def _hierarchy() -> Path:
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            if " - cgroup2 " in line:
                return Path(line.split()[4])
    raise SystemExit("bench-images needs a cgroup2 mount")


def _watched(pid: int, group: Path) -> int:
    """Wait for a process to end; return the largest sum of its group's peaks of memory, bytes."""
    ended = os.pidfd_open(pid)
    largest = 0
    try:
        while not select.select([ended], [], [], _SAMPLE_SECONDS)[0]:
            pids = (group / "cgroup.procs").read_text(encoding="ascii").split()
            largest = max(largest, sum(map(_peak_bytes, pids)))
    finally:
        os.close(ended)
    return largest


def _peak_bytes(pid: str) -> int:
    with (
        suppress(OSError),
        open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines,
    ):
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _cpu_seconds(group: Path, kind: str) -> float:
    text = (group / "cpu.stat").read_text(encoding="ascii")
    return int(dict(line.split() for line in text.splitlines())[kind]) / 1e6


def _disk_bytes(folder: Path) -> int:
    """What was written so far to the disk that a folder lies on; proc_diskstats(5)."""
    device = folder.stat().st_dev
    number = [str(os.major(device)), str(os.minor(device))]
    with open("/proc/diskstats", encoding="ascii") as lines:
        for line in lines:
            fields = line.split()
            if fields[:2] == number:
                return int(fields[9]) * _SECTOR
    raise SystemExit(f"{folder} lies on no disk: choose another with --scratch")

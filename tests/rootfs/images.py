"""Layers that are file system images, read through the kernel: what it shows is what counts."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

from hpcbox import kernel
from hpcbox.image.source import ByteStream
from hpcbox.store.paths import EROFS_IMAGE
from hpcbox.store.sink import Budget, Unpacked
from tests.rootfs.unpacking import Bytes, budget


class Unpacks(Protocol):
    """A sink that makes layers."""

    def unpack(self, stream: ByteStream, folder: str, budget: Budget) -> Unpacked:
        """Make a layer's form of a tar."""


class Seen(NamedTuple):
    """What a file system shows of one name."""

    kind: int
    mode: int
    mtime_ns: int | None
    names: int
    content: bytes
    attributes: dict[str, bytes]


@contextmanager
def mounted(layer: Path) -> Iterator[Path]:
    """Mount a layer's erofs image; nothing of it is left when this process ends."""
    context = kernel.fsopen("erofs")
    try:
        kernel.fsconfig_flag(context, "ro")
        kernel.fsconfig_string(context, "source", str(layer / EROFS_IMAGE))
        for data in sorted(layer.glob("data.*")):
            kernel.fsconfig_string(context, "device", str(data))
        kernel.fsconfig_create(context)
        tree = kernel.fsmount(context, kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NODEV)
    finally:
        os.close(context)
    try:
        yield Path(f"/proc/self/fd/{tree}")
    finally:
        os.close(tree)


def made_and_seen(sink: Unpacks, tar: bytes, scratch: Path) -> tuple[Unpacked, dict[str, Seen]]:
    """Make a layer of a tar, return what the sink says and what the kernel shows."""
    with TemporaryDirectory(dir=scratch) as folder:
        unpacked = sink.unpack(Bytes(tar), folder, budget())
        with mounted(Path(folder)) as root:
            return unpacked, seen(root)


def seen(root: Path) -> dict[str, Seen]:
    """Return path → what is there, of everything below a folder; the root is ``."""
    found = {"": _look(f"{root}/.")}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = f"{folder}/{name}"
            # Overlayfs lists whiteouts of folders that one layer alone has: names without a file.
            with suppress(FileNotFoundError):
                found[path[len(str(root)) + 1 :]] = _look(path)
    return found


def _look(path: str) -> Seen:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    content = b""
    attributes: dict[str, bytes] = {}
    if kind == stat.S_IFREG:
        content = Path(path).read_bytes()
        assert len(content) == status.st_size
    elif kind == stat.S_IFLNK:
        content = os.fsencode(os.readlink(path))
    elif kind == stat.S_IFCHR:
        content = b"%d" % status.st_rdev
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    mode = stat.S_IMODE(status.st_mode)
    return Seen(kind, mode, status.st_mtime_ns, status.st_nlink, content, attributes)

"""Layers that no package gives: what unpackers trip over, and zeros.

The rules that they touch: OCI image-spec, layer.md; PAX attributes as Go's
archive/tar writes them (SCHILY.xattr.).
"""

from __future__ import annotations

import io
import random
import tarfile
from typing import TYPE_CHECKING

from tests.services import layers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CASES, ZEROS = "cases", "zeros"
MEBIBYTE = 2**20
FILES = 400
PAIRS = 200
REMOVED = 343
SHADOWED = "opt/cases/shadowed"
REMOVED_FILES = tuple(f"opt/cases/files/{number:03}" for number in range(REMOVED))
# vfs_cap_data, revision 2: cap_net_raw, permitted and effective (linux/capability.h).
NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")


class _Zeros(io.RawIOBase):
    """As many zeros as are asked for."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def _add_zeros(tar: tarfile.TarFile, name: str, size_bytes: int) -> None:
    member = _member(name)
    member.size = size_bytes
    tar.addfile(member, _Zeros())


def _member(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = 0o644
    member.mtime = layers.TIME
    return member


def _cases(tar: tarfile.TarFile) -> None:
    """Every kind of entry that has been read wrong somewhere."""
    for name in ("opt", "opt/cases", "opt/cases/files", "opt/cases/links", SHADOWED):
        layers.add_folder(tar, name)
    for number in range(FILES):
        layers.add_file(tar, f"opt/cases/files/{number:03}", b"%d\n" % number)
    for number in range(10):
        layers.add_file(tar, f"{SHADOWED}/{number}", b"hidden by the layer above\n")
    for number in range(PAIRS):
        name = f"opt/cases/links/{number:03}"
        layers.add_file(tar, name, b"%d\n" % number * 100)
        link = _member(f"{name}-too", tarfile.LNKTYPE)
        link.linkname = name
        tar.addfile(link)
    # No hardlinks to files of layers below: podman can't unpack those (overlay's own diffs).
    for name, value in (("user.hpcbox", b"kept"), ("security.capability", NET_RAW)):
        attributed = _member(f"opt/cases/{name}")
        attributed.mode = 0o755
        text = value.decode("utf-8", "surrogateescape")
        attributed.pax_headers = {f"SCHILY.xattr.{name}": text}
        tar.addfile(attributed)
    for letter in "ab":
        layers.add_file(tar, f"opt/cases/{letter * 200}", b"long name\n")
    tar.addfile(_member("opt/cases/fifo", tarfile.FIFOTYPE))
    layers.add_folder(tar, "opt/cases/closed", 0o555)
    layers.add_file(tar, "opt/cases/closed/file", b"in a folder that takes no files\n", 0o444)
    _add_zeros(tar, "opt/cases/zeros", 512 * MEBIBYTE)
    source = random.Random(4)  # noqa: S311 - must be the same every time
    layers.add_file(tar, "opt/cases/random", source.randbytes(60 * MEBIBYTE))


def _zeros(tar: tarfile.TarFile) -> None:
    """A layer that gzip makes a thousand times smaller."""
    _add_zeros(tar, "zeros", 2048 * MEBIBYTE)


def add_removals(tar: tarfile.TarFile, names: tuple[str, ...]) -> None:
    """Add entries that hide names of the layers below; NAME/ hides a folder's content.

    The folder gets a new file.
    """
    for name in names:
        folder, _, last = name.rpartition("/")
        layers.add_file(tar, f"{folder}/.wh.{last or '.wh..opq'}".lstrip("/"), b"")
        if not last:
            layers.add_file(tar, f"{folder}/new", b"the only file left here\n")


FILLS: Mapping[str, Callable[[tarfile.TarFile], None]] = {CASES: _cases, ZEROS: _zeros}

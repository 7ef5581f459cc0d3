"""Layers of the lab's images: gzip-compressed tar files made from folders, with stable bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# All files get this time, so that the same content gives the same digest.
TIME = 1_700_000_000
# Quick rather than small: layers travel through one machine's memory only.
COMPRESSION_LEVEL = 4
# Not worth a layer's bytes, or true for the building machine only.
LEFT_OUT = (
    "dev/",
    "proc/",
    "run/",
    "sys/",
    "tmp/",
    "var/cache/",
    "var/lib/apt/lists/",
    "var/log/",
    "etc/hostname",
    "etc/resolv.conf",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """A finished layer.

    Attributes:
        file: the compressed tar.
        digest: of file, "sha256:…".
        diff_id: of the tar inside, "sha256:…".
        size_bytes: of file.
    """

    file: Path
    digest: str
    diff_id: str
    size_bytes: int


Fill: TypeAlias = "Callable[[tarfile.TarFile], None]"


class _Hashing(io.RawIOBase):
    """Passes writes on and hashes what goes by."""

    def __init__(self, sink: IO[bytes] | gzip.GzipFile) -> None:
        self._sink = sink
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, chunk: bytes, /) -> int:  # type: ignore[override]
        self.sha256.update(chunk)
        return self._sink.write(chunk)


def cached(folder: Path, key: str, fill: Fill) -> Layer:
    """The layer with this key, made by fill if folder doesn't have it yet.

    Args:
        folder: the cache of layers.
        key: names everything that the layer's content depends on.
        fill: adds the entries to an open tar file.
    """
    note = folder / f"{key}.json"
    file = folder / f"{key}.tar.gz"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with open(file, "wb") as raw:
            outer = _Hashing(raw)
            with gzip.GzipFile("", "wb", COMPRESSION_LEVEL, outer, mtime=0) as packed:
                inner = _Hashing(packed)
                with tarfile.open(fileobj=inner, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                    fill(tar)
        facts = {"digest": outer.sha256.hexdigest(), "diff_id": inner.sha256.hexdigest()}
        # The note is the mark of a complete file, so it comes last and whole.
        note.with_suffix(".new").write_text(json.dumps(facts))
        note.with_suffix(".new").rename(note)
    facts = json.loads(note.read_text())
    return Layer(
        file, f"sha256:{facts['digest']}", f"sha256:{facts['diff_id']}", file.stat().st_size
    )


def add_tree(tar: tarfile.TarFile, root: Path) -> None:
    """Add a folder's content, an overlay's upper folder included: deletions become whiteouts."""
    for path in _walk(root):
        name = os.fspath(path.relative_to(root))
        status = path.lstat()
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            add_file(tar, f"{os.path.dirname(name)}/.wh.{path.name}".lstrip("/"), b"")
            continue
        member = tar.gettarinfo(path, name)
        if member is None:  # a socket
            continue
        member.mtime = TIME
        if member.isreg():
            with open(path, "rb") as content:
                tar.addfile(member, content)
        else:
            tar.addfile(member)
        if member.isdir() and _is_opaque(path):
            add_file(tar, f"{name}/.wh..wh..opq", b"")


def _walk(root: Path, folder: Path | None = None) -> Iterator[Path]:
    for path in sorted((folder or root).iterdir()):
        if os.fspath(path.relative_to(root)).startswith(LEFT_OUT):
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(root, path)


def _is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def add_folder(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    """Add a folder that belongs to root."""
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    member.mode = mode
    member.mtime = TIME
    tar.addfile(member)


def add_file(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    """Add a file that belongs to root."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = mode
    member.mtime = TIME
    tar.addfile(member, io.BytesIO(content))

"""A squashfs file of a user as a tree for a layer, read by unsquashfs as that user.

The kernel never sees it, and nothing of it is extracted: `unsquashfs -pf` writes a list of all
names and then the contents of the files in the list's order (squashfs-tools 4.5 and later,
USAGE-MKSQUASHFS, "Pseudo file definitions"). User xattrs are lost on the way.
"""

import os
import re
import tempfile
from collections.abc import Iterator

from hpcbox import processes
from hpcbox.errors import ImageError, ImageTooLarge, shorten
from hpcbox.image import layer_tar, local_file
from hpcbox.image.layer_tar import Entry

_MAGIC = b"hsqs"
_DATA = b"# START OF DATA - DO NOT MODIFY\n"
_QUIET_SECONDS = 300.0
_END_SECONDS = 10.0
_PIECE_BYTES = 2**18
_MAXIMUM_LINE = 2**14
_LINE = re.compile(rb"((?:[^ \\]|\\.)+) ([A-Zx]) (.*)\n", re.DOTALL)
# unsquashfs would use half a gigabyte of queues. When it fails it removes the file that it writes
# (unsquashfs.c, generate_pseudo): in /proc nobody can, in /dev root would remove stdout.
_OPTIONS = (
    *("-no-progress", "-quiet", "-processors", "2", "-data-queue", "16", "-frag-queue", "16"),
    *("-pf", "/proc/self/fd/1"),
)


class SquashfsTree:
    """The tree of a file system image."""

    def __init__(self, path: str, maximum_entries: int) -> None:
        """Look at the file.

        Raises:
            ImageError, PermissionRefused: it can't be read or is no squashfs.
        """
        part = local_file.Part(path)
        try:
            if part.read(len(_MAGIC)) != _MAGIC:
                raise ImageError(f"{shorten(path, 160)} is no squashfs file system image")
        finally:
            part.close()
        self._path = path
        self._maximum_entries = maximum_entries

    def walk(self) -> "SquashfsWalk":
        """Begin a walk.

        Raises:
            ImageError: unsquashfs is missing.
        """
        return SquashfsWalk(self._path, self._maximum_entries)


class SquashfsWalk:
    """One walk; the list of names lies in a file without a name while the contents come."""

    def __init__(self, path: str, maximum_entries: int) -> None:
        self._path = path
        self._maximum_entries = maximum_entries
        self._buffer = bytearray()
        self._left = 0
        try:
            self._program = processes.Reading(["unsquashfs", *_OPTIONS, path])
        except FileNotFoundError as error:
            raise ImageError(
                f"reading {shorten(path, 160)} takes the program unsquashfs, which is missing here",
                hint="an administrator installs the package squashfs-tools",
            ) from error

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries.

        Raises:
            ImageError: the file can't be read as a squashfs.
            ImageTooLarge: it has more entries than the settings allow.
        """
        with tempfile.TemporaryFile() as names:
            for line in self._names():
                names.write(line)
            names.seek(0)
            position = 0
            for line in names:
                entry, offset = self._entry(line)
                if entry is None:
                    continue
                if entry.kind == layer_tar.FILE and entry.size_bytes and offset != position:
                    raise self._broken("the contents of its files come in another order")
                position += entry.size_bytes
                self._left = entry.size_bytes
                yield entry
                for _ in self.content():
                    pass
        self._check_end()

    def content(self) -> Iterator[bytes]:
        """Yield the content of the current file.

        Raises:
            ImageError: it can't be read.
        """
        while self._left:
            piece = bytes(self._buffer[: self._left]) or self._read(min(self._left, _PIECE_BYTES))
            del self._buffer[: len(piece)]
            if not piece:
                self._check_end()
                raise self._broken("its contents end too early")
            self._left -= len(piece)
            yield piece

    def close(self) -> None:
        """End the walk and the program."""
        self._program.close()

    def _names(self) -> Iterator[bytes]:
        """Yield the lines of the list; what follows it stays in the buffer."""
        count = 0
        while True:
            line = self._line()
            if line.startswith(b"#"):
                if line == _DATA:
                    self._line()
                    return
                continue
            count += 1
            if count > self._maximum_entries:
                raise ImageTooLarge(
                    f"the image has more than {self._maximum_entries} files",
                    hint="the setting max_entries allows more",
                )
            yield line

    def _line(self) -> bytes:
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > _MAXIMUM_LINE:
                raise self._broken("a name in it has no end")
            piece = self._read(2**16)
            if not piece:
                self._check_end()
                raise self._broken("the list of its files ends too early")
            self._buffer += piece
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def _entry(self, line: bytes) -> tuple[Entry | None, int]:
        """Return what a line says, and for a file where its content begins."""
        match = _LINE.fullmatch(line)
        if match is None:
            raise self._broken("a name in it holds a newline")
        name, kind, rest = match.groups()
        name = b"." if name == b"/" else _unescaped(name).lstrip(b"/")
        if kind == b"L":
            target = _unescaped(rest).lstrip(b"/")
            return Entry(name, layer_tar.HARDLINK, 0o644, 0, target=target), 0
        if kind not in b"DRSI" or name.rpartition(b"/")[2].startswith(b".wh."):
            # Devices, xattrs, and what would be a whiteout in a layer.
            return None, 0
        try:
            mtime, mode, _, _, *more = rest.split(b" ", 4)
            return _node(name, kind, int(mode, 8), int(mtime), more)
        except (ValueError, IndexError) as error:
            raise self._broken("a name in it holds a newline") from error

    def _read(self, size: int) -> bytes:
        try:
            return self._program.read(size, timeout_seconds=_QUIET_SECONDS)
        except OSError as error:
            raise self._broken(f"unsquashfs: {error.strerror}") from error

    def _check_end(self) -> None:
        try:
            ended = self._program.end(timeout_seconds=_END_SECONDS)
        except OSError as error:
            raise self._broken(f"unsquashfs: {error.strerror}") from error
        if ended.code:
            said = os.fsdecode(ended.errors.strip().partition(b"\n")[0])
            raise self._broken(f"unsquashfs: {shorten(said, 160) or ended.code}")

    def _broken(self, reason: str) -> ImageError:
        return ImageError(f"cannot read {shorten(self._path, 160)}: {reason}")


def _node(
    name: bytes, kind: bytes, mode: int, mtime: int, more: list[bytes]
) -> tuple[Entry | None, int]:
    if kind == b"I":
        is_fifo = more[0] == b"f"
        return (Entry(name, layer_tar.FIFO, mode, mtime) if is_fifo else None), 0
    if kind == b"S":
        return Entry(name, layer_tar.SYMLINK, mode, mtime, target=more[0]), 0
    if kind == b"D":
        return Entry(name, layer_tar.FOLDER, mode, mtime), 0
    size, offset = (int(number) for number in more[0].split(b" ")[:2])
    return Entry(name, layer_tar.FILE, mode, mtime, size), offset


def _unescaped(name: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", name, flags=re.DOTALL)

"""Reading tar as layers are written: header by header, on bytes, believing nothing.

ustar, GNU (long names, sparse files) and PAX (POSIX.1-2001), as Go's archive/tar and GNU tar write
them. The stream is read once, in order; a file's content has to be taken or skipped before the next
entry. Names stay bytes: a layer's names are in whatever encoding its builder used. Global PAX
headers are passed over, as Docker does.
"""

import struct
from collections.abc import Callable, Iterator
from mmap import mmap
from typing import TypeAlias
from zlib import adler32

from hpcbox.errors import BlobInvalid, LayerRejected
from hpcbox.image.source import ByteStream
from hpcbox.rootfs import sparse
from hpcbox.rootfs.tar_fields import (
    decimal,
    expected_adler,
    has_signed_sum,
    mode_of,
    nanoseconds,
    number,
    pax_nanoseconds,
    pax_records,
)

_BLOCK = 512
_CHUNK = 2**20
_ZEROS = bytes(_BLOCK)
# Longer than any path that a system call takes; a header that claims more has something in mind.
_MAXIMUM_HEADER_BYTES = 2**20

FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_WITHOUT_CONTENT = frozenset({HARDLINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO})
_SPARSE = b"S"
_LINKS = frozenset({HARDLINK, SYMLINK})
_FILES = frozenset({b"\0", b"7", FILE, _SPARSE})
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SOLARIS_PAX = b"L", b"K", b"x", b"g", b"X"
_EXTENSIONS = frozenset({_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SOLARIS_PAX})
_XATTR = b"SCHILY.xattr."
# Name, mode, size, time, sum, kind, target, magic, prefix: what a layer needs of a header.
_HEADER = struct.Struct("100s 8s 16x 12s 12s 8s 1s 100s 6s 82x 155s 12x")


Fill: TypeAlias = Callable[[], tuple[bytes | mmap, int]]
"""Gives the next bytes of a tar: a buffer, valid until the next call, and how many of it count; 0
at the end."""


def pieces_of(stream: ByteStream) -> Fill:
    """Return how a reader gets at the bytes of a stream."""

    def fill() -> tuple[bytes, int]:
        piece = stream.read(_CHUNK)
        return piece, len(piece)

    return fill


class Entry:
    """One entry of a tar.

    Attributes:
        kind: FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK, FOLDER or FIFO.
        name: as it stands in the tar.
        target: of a link, as it stands in the tar.
        size_bytes: of a file. (Folders in the form from before POSIX may have content, too.)
        segments: (offset in the file, length) of the parts that the tar holds of a sparse file,
            one behind the other; None: it holds all.
        mode: permission bits, 0 to 0o7777.
        mtime_ns: nanoseconds since 1970.
        offset: where the content begins in the tar, in bytes.
        xattrs: extended attributes by name, or None.
    """

    __slots__ = (
        "kind",
        "mode",
        "mtime_ns",
        "name",
        "offset",
        "segments",
        "size_bytes",
        "target",
        "xattrs",
    )

    def __init__(
        self,
        kind: bytes,
        name: bytes,
        size_bytes: int,
        mode: int,
        mtime_ns: int,
    ) -> None:
        self.kind = kind
        self.name = name
        self.target = b""
        self.size_bytes = size_bytes
        self.mode = mode
        self.mtime_ns = mtime_ns
        self.offset = 0
        self.segments: sparse.Segments | None = None
        self.xattrs: dict[bytes, bytes] | None = None

    @property
    def hole_bytes(self) -> int:
        """How much of a file isn't in the tar."""
        return self.size_bytes - sum(length for _, length in self.segments or ())


class _Extensions:
    """What headers before an entry say of it.

    Attributes:
        size_bytes: of these headers: they are held until the entry comes.
    """

    __slots__ = ("attributes", "long_link", "long_name", "size_bytes")

    def __init__(self) -> None:
        self.long_name = b""
        self.long_link = b""
        self.attributes: dict[bytes, bytes] = {}
        self.size_bytes = 0


class TarReader:
    """Yields a tar's entries; `content` gives the bytes of the one that was yielded last."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        # So many bytes of it count; the next of them; where the first of them is in the tar.
        self._buffer: bytes | mmap = b""
        self._end = 0
        self._position = 0
        self._base = 0
        # The entry that was yielded last, and how much of its content has not been taken.
        self._entry = Entry(FILE, b"", 0, 0, 0)
        self._left = 0
        self._extensions: _Extensions | None = None

    def __iter__(self) -> Iterator[Entry]:  # noqa: C901 - see the comment at its loop
        """Yield the entries in their order.

        Raises:
            BlobInvalid: this is no tar, or a broken one.
            LayerRejected: an entry is of a kind that no layer has.
        """
        # The hot loop: a layer has a hundred thousand headers, and each call takes its time. Only
        # what is unusual is done elsewhere.
        while True:
            position = self._position
            behind = position + _BLOCK
            if behind <= self._end:
                header = self._buffer[position:behind]
                self._position = behind
            elif not (header := self._next_header()):
                return
            name, mode, size, mtime, checksum, flag, target, magic, prefix = _HEADER.unpack(header)
            # The lower half of Adler-32 is one more than the sum of the bytes, modulo 65521 (RFC
            # 1950): a sum at the speed of C.
            if adler32(header) & 0xFFFF != expected_adler(checksum) and _is_end(header):
                return
            if flag in _EXTENSIONS:
                self._extend(flag, number(size))
                continue
            name = name.partition(b"\0")[0]
            # The prefix field is POSIX's; GNU's own format has other things there.
            if prefix[0] and magic == b"ustar\0":
                name = prefix.partition(b"\0")[0] + b"/" + name
            extensions = self._extensions
            if extensions is not None:
                name = extensions.attributes.get(b"path") or extensions.long_name or name
            stored = 0 if flag in _WITHOUT_CONTENT else number(size)
            entry = Entry(_kind(flag, name), name, stored, mode_of(mode), nanoseconds(mtime))
            if flag in _LINKS:
                entry.target = target.partition(b"\0")[0]
            self._entry = entry
            if extensions is not None or flag == _SPARSE:
                self._extensions = None
                stored = self._extended(extensions or _Extensions(), header)
            self._left = stored
            entry.offset = self._base + self._position
            yield entry
            if stored:
                self._skip(self._left + -stored % _BLOCK)

    def content(self) -> Iterator[tuple[int, bytes]]:
        """Yield the current entry's content in pieces, each with its offset in the file.

        Raises:
            BlobInvalid: the tar ends before the content does.
        """
        if not self._left:
            return
        for offset, length in self._entry.segments or ((0, self._left),):
            end = offset + length
            at = offset
            while at < end:
                if self._position >= self._end:
                    self._refill()
                piece = self._buffer[self._position : min(self._position + end - at, self._end)]
                self._position += len(piece)
                self._left -= len(piece)
                yield at, piece
                at += len(piece)

    def _refill(self) -> None:
        self._next_buffer()
        if not self._end:
            raise BlobInvalid("layer is broken: its tar ends within an entry")

    def _next_buffer(self) -> None:
        self._base += self._end
        self._buffer, self._end = self._fill()
        self._position = 0

    def _take(self, size: int) -> bytes:
        pieces: list[bytes] = []
        missing = size
        while missing > self._end - self._position:
            pieces.append(self._buffer[self._position : self._end])
            missing -= len(pieces[-1])
            self._refill()
        pieces.append(self._buffer[self._position : self._position + missing])
        self._position += missing
        return b"".join(pieces)

    def _skip(self, size: int) -> None:
        self._position += size
        while self._position > self._end:
            beyond = self._position - self._end
            self._refill()
            self._position = beyond

    def _next_header(self) -> bytes:
        """Return a header that isn't wholly in the buffer; b"" at the end."""
        if self._position >= self._end:
            self._next_buffer()
            if not self._end:
                # Some builders leave out the two blocks of zeros.
                return b""
        return self._take(_BLOCK)

    def _extend(self, kind: bytes, size: int) -> None:
        """Read a header that speaks of the entry that follows."""
        extensions = self._extensions = self._extensions or _Extensions()
        extensions.size_bytes += size + _BLOCK
        if extensions.size_bytes > _MAXIMUM_HEADER_BYTES:
            raise BlobInvalid(f"layer is broken: tar headers of {extensions.size_bytes} bytes")
        content = self._take(size)
        self._skip(-size % _BLOCK)
        if kind == _LONG_NAME:
            extensions.long_name = content.partition(b"\0")[0]
        elif kind == _LONG_LINK:
            extensions.long_link = content.partition(b"\0")[0]
        elif kind != _PAX_GLOBAL:
            records = pax_records(content)
            if sparse.PREFIX in content:
                extensions.attributes.update(sparse.joined(list(records)))
            else:
                extensions.attributes.update(records)

    def _extended(self, extensions: _Extensions, header: bytes) -> int:
        """Give the entry what headers before it said; return how much of it the tar holds."""
        entry, attributes = self._entry, extensions.attributes
        flag = header[156:157]
        if flag in _LINKS:
            entry.target = attributes.get(b"linkpath") or extensions.long_link or entry.target
        for key, value in attributes.items():
            if key == b"mtime":
                entry.mtime_ns = pax_nanoseconds(value)
            elif key.startswith(_XATTR):
                entry.xattrs = entry.xattrs or {}
                entry.xattrs[key.removeprefix(_XATTR)] = value
            elif key == b"size" and flag not in _WITHOUT_CONTENT:
                entry.size_bytes = decimal(value)
        stored = entry.size_bytes
        if flag == _SPARSE or sparse.is_sparse(attributes):
            stored = self._find_segments(header, attributes)
        return stored

    def _find_segments(self, header: bytes, attributes: dict[bytes, bytes]) -> int:
        """Find out which parts of a sparse file the tar holds; return their size."""
        entry = self._entry
        stored = entry.size_bytes
        if entry.kind != FILE:
            raise BlobInvalid("layer is broken: a sparse file that is no file")
        if header[156:157] == _SPARSE:
            entry.size_bytes, segments = sparse.read_old(header, self._take)
        else:
            entry.size_bytes, segments, map_bytes = sparse.read_pax(attributes, self._take)
            # The map is a multiple of blocks: what follows it needs the same padding.
            stored -= map_bytes
        entry.segments = sparse.checked(entry.size_bytes, segments, stored)
        return stored


def _is_end(header: bytes) -> bool:
    """Say whether a header that seems damaged is the end of the tar.

    Raises:
        BlobInvalid: it is damaged.
    """
    if header == _ZEROS:
        return True
    if not has_signed_sum(header):
        raise BlobInvalid(
            "layer is broken: it is no tar, or damaged (a header's checksum is wrong)"
        )
    return False


def _kind(flag: bytes, name: bytes) -> bytes:
    if flag in _FILES:
        # Before POSIX a folder was a file whose name ends in a slash.
        return FOLDER if name.endswith(b"/") else FILE
    if flag in _WITHOUT_CONTENT:
        return flag
    raise _refused(name, f"its type {flag!r} is none that a layer may hold")


def _refused(name: bytes, reason: str) -> LayerRejected:
    return LayerRejected(name.decode("utf-8", "surrogateescape"), reason)

"""A tree of files as a layer's tar: the same tree gives the same bytes.

POSIX.1-2001 (PAX headers only where ustar's fields are too small). Owners are 0, times whole
seconds; the order is that of the tree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_LARGEST_OCTAL = 8**11 - 1
_PAX_NAME = b"PaxHeaders/entry"
FILE, HARDLINK, SYMLINK, FOLDER, FIFO = b"0", b"1", b"2", b"5", b"6"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a tree.

    Attributes:
        name: relative, without a slash at its end; b"." is the tree's own folder.
        kind: FILE, HARDLINK, SYMLINK, FOLDER or FIFO.
        mode: permission bits.
        mtime: seconds since 1970.
        size_bytes: of a file's content.
        target: of a link.
        xattrs: extended attributes by name.
    """

    name: bytes
    kind: bytes
    mode: int
    mtime: int
    size_bytes: int = 0
    target: bytes = b""
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


class Tree(Protocol):
    """A tree that can be walked more than once."""

    def walk(self) -> "Walk":
        """Begin a walk."""


class Walk(Protocol):
    """One walk through a tree, in its order."""

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries, folders before what is in them.

        Raises:
            HpcboxError: the tree can't be read.
        """

    def content(self) -> Iterator[bytes]:
        """Yield the content of the file that was yielded last, exactly `size_bytes`.

        It need not be taken.
        """

    def close(self) -> None:
        """End the walk."""


def pieces(walk: Walk) -> Iterator[bytes]:
    """Yield the bytes of a tree's tar."""
    for entry in walk:
        yield header(entry)
        if entry.size_bytes:
            yield from walk.content()
            if padding := -entry.size_bytes % _BLOCK:
                yield bytes(padding)
    yield _END


def windows_of(walk: Walk, windows: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return pieces (offset, length) of a tree's tar, reading no more content than it takes."""
    found = [bytearray(length) for _, length in windows]
    position = 0
    wanted = max((offset + length for offset, length in windows), default=0)

    def cut(start: int, piece: bytes) -> None:
        for (offset, length), kept in zip(windows, found, strict=True):
            begin, end = max(offset, start), min(offset + length, start + len(piece))
            if begin < end:
                kept[begin - offset : end - offset] = piece[begin - start : end - start]

    for entry in walk:
        if position >= wanted:
            break
        head = header(entry)
        cut(position, head)
        position += len(head)
        end = position + entry.size_bytes
        touched = (offset < end and offset + length > position for offset, length in windows)
        if entry.size_bytes and any(touched):
            for piece in walk.content():
                cut(position, piece)
                position += len(piece)
        position = end + -entry.size_bytes % _BLOCK
    return [bytes(piece) for piece in found]


def kept_xattrs(xattrs: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the attributes that a layer keeps: the user's, but not overlayfs's among them."""
    return {
        name: value
        for name, value in xattrs.items()
        if name.startswith(b"user.") and not name.startswith(b"user.overlay.")
    }


def header(entry: Entry) -> bytes:
    """Return the header of an entry, with a PAX header before it where one is needed."""
    name = entry.name + b"/" if entry.kind == FOLDER else entry.name
    records = {b"SCHILY.xattr." + key: value for key, value in sorted(entry.xattrs.items())}
    if len(name) > 100:
        records[b"path"] = name
    if len(entry.target) > 100:
        records[b"linkpath"] = entry.target
    if entry.size_bytes > _LARGEST_OCTAL:
        records[b"size"] = b"%d" % entry.size_bytes
    if not 0 <= entry.mtime <= _LARGEST_OCTAL:
        records[b"mtime"] = b"%d" % entry.mtime
    own = _ustar(entry, name)
    if not records:
        return own
    body = b"".join(_record(key, value) for key, value in records.items())
    before = _ustar(Entry(_PAX_NAME, b"x", 0o644, 0, len(body)), _PAX_NAME)
    return before + body + bytes(-len(body) % _BLOCK) + own


def _ustar(entry: Entry, name: bytes) -> bytes:
    size, mtime = entry.size_bytes, entry.mtime
    fields = (
        name[:100].ljust(100, b"\0"),
        b"%07o\0" % (entry.mode & 0o7777),
        b"%07o\0%07o\0" % (0, 0),
        b"%011o\0" % (size if size <= _LARGEST_OCTAL else 0),
        b"%011o\0" % (mtime if 0 <= mtime <= _LARGEST_OCTAL else 0),
        b" " * 8,
        entry.kind,
        entry.target[:100].ljust(100, b"\0"),
        b"ustar\0" + b"00",
    )
    block = b"".join(fields).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    # The length counts its own digits.
    if len(str(length)) > len(str(len(rest))):
        length += 1
    return b"%d" % length + rest

"""Reading tar as layers are written: header by header, on bytes, believing nothing.

ustar, GNU (long names) and PAX (POSIX.1-2001), as Go's archive/tar and GNU tar write them. The
stream is read once, in order; a file's content has to be taken or skipped before the next entry.
Names stay bytes: a layer's names are in whatever encoding its builder used. Global PAX headers are
passed over, as Docker does. Sparse files are refused so far.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hpcbox.errors import BlobInvalid, LayerRejected
from hpcbox.image.source import ByteStream

_BLOCK = 512
_CHUNK = 2**18
_ZEROS = bytes(_BLOCK)
# Longer than any path that a system call takes; a header that claims more has something in mind.
_MAXIMUM_HEADER_BYTES = 2**20
_MAXIMUM_SIZE = 2**63 - 1

FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_WITHOUT_CONTENT = frozenset({HARDLINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO})
_FILES = {b"\0": FILE, b"7": FILE, FILE: FILE}
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SOLARIS_PAX = b"L", b"K", b"x", b"g", b"X"
_XATTR = b"SCHILY.xattr."


@dataclass(slots=True)
class Entry:
    """One entry of a tar.

    Attributes:
        kind: FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK, FOLDER or FIFO.
        name: as it stands in the tar.
        target: of a link, as it stands in the tar.
        size_bytes: of a file's content.
        mode: permission bits, 0 to 0o7777.
        mtime_ns: nanoseconds since 1970.
        xattrs: extended attributes by name.
    """

    kind: bytes
    name: bytes
    target: bytes
    size_bytes: int
    mode: int
    mtime_ns: int
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


class TarReader:
    """Yields a tar's entries; `content` gives the bytes of the one that was yielded last."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._position = 0
        self._left = 0
        self._padding = 0
        self._extension_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in their order.

        Raises:
            BlobInvalid: this is no tar, or a broken one.
            LayerRejected: an entry is of a kind that no layer has.
        """
        long_name = long_link = None
        attributes: dict[bytes, bytes] = {}
        while (header := self._header()) is not None:
            kind = header[156:157]
            if kind in (_PAX, _SOLARIS_PAX):
                attributes.update(_pax_records(self._extension(header)))
            elif kind == _PAX_GLOBAL:
                self._extension(header)
            elif kind == _LONG_NAME:
                long_name = self._extension(header).partition(b"\0")[0]
            elif kind == _LONG_LINK:
                long_link = self._extension(header).partition(b"\0")[0]
            else:
                entry = _entry(header, long_name, long_link, attributes)
                self._left = entry.size_bytes
                self._padding = -entry.size_bytes % _BLOCK
                yield entry
                self._skip(self._left + self._padding)
                long_name = long_link = None
                attributes = {}
                self._extension_bytes = 0

    def content(self) -> Iterator[bytes]:
        """Yield the content of the current entry in pieces.

        Raises:
            BlobInvalid: the tar ends before the content does.
        """
        while self._left:
            if self._position >= len(self._buffer):
                self._fill()
            piece = self._buffer[self._position : self._position + self._left]
            self._position += len(piece)
            self._left -= len(piece)
            yield piece

    def _fill(self) -> None:
        self._buffer = self._stream.read(_CHUNK)
        self._position = 0
        if not self._buffer:
            raise BlobInvalid("layer is broken: its tar ends within an entry")

    def _take(self, size: int) -> bytes:
        end = self._position + size
        if end <= len(self._buffer):
            taken = self._buffer[self._position : end]
            self._position = end
            return taken
        pieces = [self._buffer[self._position :]]
        missing = size - len(pieces[0])
        self._position = len(self._buffer)
        while missing:
            self._fill()
            pieces.append(self._buffer[:missing])
            self._position = len(pieces[-1])
            missing -= self._position
        return b"".join(pieces)

    def _skip(self, size: int) -> None:
        while size:
            if self._position >= len(self._buffer):
                self._fill()
            step = min(size, len(self._buffer) - self._position)
            self._position += step
            size -= step

    def _header(self) -> bytes | None:
        if self._position >= len(self._buffer):
            self._buffer, self._position = self._stream.read(_CHUNK), 0
            if not self._buffer:
                # Some builders leave out the two blocks of zeros.
                return None
        header = self._take(_BLOCK)
        if header == _ZEROS:
            return None
        _check_sum(header)
        return header

    def _extension(self, header: bytes) -> bytes:
        size = _number(header[124:136])
        # Counted over all headers before one entry: they are held until it comes.
        self._extension_bytes += size + _BLOCK
        if self._extension_bytes > _MAXIMUM_HEADER_BYTES:
            raise BlobInvalid(f"layer is broken: tar headers of {self._extension_bytes} bytes")
        content = self._take(size)
        self._skip(-size % _BLOCK)
        return content


def _entry(
    header: bytes,
    long_name: bytes | None,
    long_link: bytes | None,
    attributes: dict[bytes, bytes],
) -> Entry:
    name = attributes.get(b"path") or long_name or _short_name(header)
    target = attributes.get(b"linkpath") or long_link or header[157:257].partition(b"\0")[0]
    kind = _kind(header[156:157], name, attributes)
    size = 0
    if kind not in _WITHOUT_CONTENT:
        stated = attributes.get(b"size")
        size = _number(header[124:136]) if stated is None else _decimal(stated)
    return Entry(
        kind=kind,
        name=name,
        target=target,
        size_bytes=size,
        mode=_number(header[100:108]) & 0o7777,
        mtime_ns=_mtime(header, attributes),
        xattrs={
            key.removeprefix(_XATTR): value
            for key, value in attributes.items()
            if key.startswith(_XATTR)
        },
    )


def _kind(flag: bytes, name: bytes, attributes: dict[bytes, bytes]) -> bytes:
    if flag == b"S" or any(key.startswith(b"GNU.sparse.") for key in attributes):
        raise _refused(name, "sparse files in layers are not supported yet")
    if flag in _FILES:
        # Before POSIX a folder was a file whose name ends in a slash.
        return FOLDER if name.endswith(b"/") else FILE
    if flag in _WITHOUT_CONTENT:
        return flag
    raise _refused(name, f"its type {flag!r} is none that a layer may hold")


def _short_name(header: bytes) -> bytes:
    name = header[0:100].partition(b"\0")[0]
    # The prefix field is POSIX's; GNU's own format has other things there.
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].partition(b"\0")[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _mtime(header: bytes, attributes: dict[bytes, bytes]) -> int:
    stated = attributes.get(b"mtime")
    if stated is None:
        return _number(header[136:148], negative=True) * 10**9
    whole, _, fraction = stated.partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    digits = (fraction[:9].ljust(9, b"0")) if fraction else b"0"
    return sign * (_decimal(whole.lstrip(b"-") or b"0") * 10**9 + _decimal(digits))


def _check_sum(header: bytes) -> None:
    stated = _number(header[148:156])
    blanked = sum(header) - sum(header[148:156]) + 8 * 0x20
    if stated == blanked:
        return
    # Some old tars added the bytes as signed.
    if stated != blanked - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise BlobInvalid(
            "layer is broken: it is no tar, or damaged (a header's checksum is wrong)"
        )


def _number(field_bytes: bytes, *, negative: bool = False) -> int:
    """Return a header's number: octal digits, or base 256 with the first bit set (GNU)."""
    if field_bytes[0] & 0x80:
        value = int.from_bytes(field_bytes, "big", signed=False) & ~(
            0x80 << 8 * (len(field_bytes) - 1)
        )
        if field_bytes[0] & 0x40:
            value -= 1 << (8 * len(field_bytes) - 1)
    else:
        text = field_bytes.partition(b"\0")[0].strip(b" ")
        if text.strip(b"01234567"):
            raise BlobInvalid("layer is broken: a tar header holds something that is no number")
        value = int(text or b"0", 8)
    if value < 0 and not negative:
        raise BlobInvalid("layer is broken: a tar header holds a negative number")
    return _bounded(value)


def _decimal(text: bytes) -> int:
    if not text or text.strip(b"0123456789") or len(text) > 20:
        raise BlobInvalid("layer is broken: a PAX header holds something that is no number")
    return _bounded(int(text))


def _bounded(value: int) -> int:
    if not -_MAXIMUM_SIZE <= value <= _MAXIMUM_SIZE:
        raise BlobInvalid("layer is broken: a tar header holds a number without bounds")
    return value


def _pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records of a PAX header; each is `LENGTH KEY=VALUE` and a newline."""
    position = 0
    while position < len(content):
        digits, blank, _ = content[position : position + 21].partition(b" ")
        end = position + (_decimal(digits) if blank else 0)
        start = position + len(digits) + 1
        key, equals, value = content[start : end - 1].partition(b"=")
        # Each record has to end behind its own blank: one that ended before would come for ever.
        if end <= start or content[end - 1 : end] != b"\n" or not equals:
            raise BlobInvalid("layer is broken: a PAX header that follows no rule")
        position = end
        yield key, value


def _refused(name: bytes, reason: str) -> LayerRejected:
    return LayerRejected(name.decode("utf-8", "surrogateescape"), reason)

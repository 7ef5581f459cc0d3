"""Where the members of a tar file lie, so that they can be read where they are.

Only what archives of images have: ustar, GNU long names, PAX paths and sizes. Headers are read,
contents passed over; a lie about a size leads behind the end of the file and is refused.
"""

import os
from dataclasses import dataclass

from hpcbox.errors import ImageNotFound, ManifestInvalid, shorten
from hpcbox.image import local_file

_BLOCK = 512
_MAXIMUM_MEMBERS = 100_000
_MAXIMUM_HEADER_BYTES = 2**20
_FILES, _SYMLINK, _FOLDER = (b"0", b"\0", b"7"), b"2", b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file or link in the archive.

    Attributes:
        offset: where its content begins, in bytes.
        size_bytes: of its content.
        target: of a symlink, else "".
    """

    offset: int
    size_bytes: int
    target: str = ""


class TarIndex:
    """The members of one archive by name; the file must stay as it is."""

    def __init__(self, path: str) -> None:
        """Read all headers.

        Raises:
            ImageError, PermissionRefused: the file can't be read, is no tar, or a broken one.
        """
        self.path = path
        self._descriptor, status = local_file.open_file(path)
        self._size = status.st_size
        self._identity = _identity(status)
        try:
            self._members = dict[str, Member]()
            self._read()
        finally:
            os.close(self._descriptor)

    def __contains__(self, name: str) -> bool:
        """Say whether there is a member of that name."""
        return name in self._members

    def member(self, name: str) -> Member:
        """Return a file; a symlink to another file of the archive is followed, once.

        Raises:
            ImageNotFound: there is none.
        """
        found = self._members.get(name)
        if found is not None and found.target:
            # Old `docker save` links a layer that stands twice to its first place.
            found = self._members.get(_beside(name, found.target))
        if found is None or found.target:
            raise ImageNotFound(f"archive {self._shown} has no file '{shorten(name, 120)}'")
        return found

    def open(self, member: Member) -> local_file.Part:
        """Begin to read a file.

        Raises:
            DigestMismatch: the archive has changed.
            ImageError, PermissionRefused: it can't be read any more.
        """
        part = local_file.Part(self.path, member.offset, member.size_bytes)
        if _identity(os.stat(self.path)) != self._identity:
            part.close()
            raise local_file.changed(self.path)
        return part

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a small file; raises as `member` and `open` do."""
        part = self.open(self.member(name))
        try:
            return local_file.read_limited(part, limit, f"'{shorten(name, 80)}' of {self._shown}")
        finally:
            part.close()

    @property
    def _shown(self) -> str:
        return shorten(self.path, 160)

    def _read(self) -> None:
        offset, extended = 0, dict[bytes, bytes]()
        while header := self._header(offset):
            kind, size = header[156:157], self._number(header[124:136])
            offset += _BLOCK
            if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
                if kind != _PAX_GLOBAL:
                    extended.update(self._extension(kind, offset, size))
            else:
                size = self._add(header, kind, offset, size, extended)
                extended = {}
            offset += size + -size % _BLOCK
            if offset > self._size + _BLOCK:
                raise self._broken("it ends within a member")

    def _add(
        self, header: bytes, kind: bytes, offset: int, size: int, extended: dict[bytes, bytes]
    ) -> int:
        """Take a member into the index; return the true size of its content."""
        if b"size" in extended:
            size = self._number(extended[b"size"], base=10)
        if kind not in _FILES:
            size = 0
        if offset + size > self._size:
            raise self._broken("it ends within a member")
        name = _clean(extended.get(b"path") or _short_name(header))
        if kind not in (*_FILES, _SYMLINK) or not name:
            return size
        target = extended.get(b"linkpath") or header[157:257].partition(b"\0")[0]
        # Which of two would count depends on the reader.
        if name in self._members:
            raise self._broken(f"it holds '{shorten(name, 80)}' twice")
        if len(self._members) >= _MAXIMUM_MEMBERS:
            raise self._broken(f"it has more than {_MAXIMUM_MEMBERS} members")
        link = os.fsdecode(target) if kind == _SYMLINK else ""
        self._members[name] = Member(offset, size, link)
        return size

    def _header(self, offset: int) -> bytes:
        """Return the header there, nothing at the archive's end."""
        header = os.pread(self._descriptor, _BLOCK, offset)
        if not header.strip(b"\0"):
            if offset == 0:
                raise self._broken("it is empty")
            return b""
        for magic, program in _COMPRESSED.items():
            if offset == 0 and header.startswith(magic):
                raise ManifestInvalid(
                    f"archive {self._shown} is compressed, so it can't be read in place",
                    hint=f"decompress it first: {program}",
                )
        if len(header) < _BLOCK:
            raise self._broken("it ends within a header")
        blanked = sum(header) - sum(header[148:156]) + 8 * 0x20
        if self._number(header[148:156]) != blanked:
            raise self._broken("it is no tar, or damaged")
        return header

    def _extension(self, kind: bytes, offset: int, size: int) -> dict[bytes, bytes]:
        if size > _MAXIMUM_HEADER_BYTES:
            raise self._broken(f"a header has {size} bytes")
        content = os.pread(self._descriptor, size, offset)
        if len(content) < size:
            raise self._broken("it ends within a header")
        if kind == _PAX:
            return self._pax(content)
        return {(b"path" if kind == _LONG_NAME else b"linkpath"): content.partition(b"\0")[0]}

    def _pax(self, content: bytes) -> dict[bytes, bytes]:
        records = {}
        position = 0
        while position < len(content):
            digits, blank, _ = content[position : position + 20].partition(b" ")
            end = position + (self._number(digits, base=10) if blank else 0)
            key, equals, value = content[position + len(digits) + 1 : end - 1].partition(b"=")
            if end <= position + len(digits) or end > len(content) or not equals:
                raise self._broken("a header follows no rule")
            records[key] = value
            position = end
        return records

    def _number(self, field: bytes, base: int = 8) -> int:
        if base == 8 and field[:1] >= b"\x80":
            # GNU's form for what has too many digits.
            return int.from_bytes(field[1:], "big")
        digits = field.partition(b"\0")[0].strip(b" ")
        if len(digits) > 20 or digits.strip(b"0123456789"[:base]):
            raise self._broken("it is no tar, or damaged")
        return int(digits or b"0", base)

    def _broken(self, reason: str) -> ManifestInvalid:
        return ManifestInvalid(f"archive {self._shown} can't be read: {reason}")


def _short_name(header: bytes) -> bytes:
    name = header[0:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _clean(name: bytes) -> str:
    # Names are keys here, never paths.
    return "/".join(part for part in os.fsdecode(name).split("/") if part not in ("", "."))


def _beside(name: str, target: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(name), target))


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns

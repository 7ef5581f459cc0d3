"""Layers that are small on the wire and large behind it, or never end: made while they are read."""

import gzip
import itertools
import struct
from collections.abc import Iterator

import zstandard

from tests.hostile.corpus import header, pax


class Endless:
    """A stream of whatever an iterator gives.

    Attributes:
        read_bytes: how much of it has been read.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.read_bytes = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        while len(self._rest) < min(size, 2**16):
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        self.read_bytes += len(taken)
        return taken

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


def entries(count: int) -> Iterator[bytes]:
    """Empty files."""
    return (header(b"%d/%d" % (number // 1000, number), b"0") for number in range(count))


def folders(count: int) -> Iterator[bytes]:
    """Folders, which take more than files."""
    return (header(b"%d/%d" % (number // 1000, number), b"0", b"5") for number in range(count))


def links(count: int) -> Iterator[bytes]:
    """Hardlinks to a file that no layer has."""
    return (header(b"%d" % number, b"0", b"1", target=b"nothing") for number in range(count))


def whiteouts(count: int) -> Iterator[bytes]:
    """Whiteouts of nothing."""
    return (header(b".wh.%d" % number, b"0") for number in range(count))


def implied(count: int) -> Iterator[bytes]:
    """Files, each of them below hundreds of folders that have no entry."""
    for number in range(count):
        path = b"/".join([b"%d" % number, *[b"d"] * 250, b"f"])
        yield pax(b"%d path=%s\n" % (len(path) + 10, path)) + header(b"f", b"0")


def many_headers(count: int) -> Iterator[bytes]:
    """Entries with as many PAX records as a header may hold."""
    records = b"6 a=b\n" * (2**20 // 6 - 1000)
    one = pax(records) + header(b"f", b"0")
    return itertools.repeat(one, count)


def empty_members(count: int) -> bytes:
    """Gzip members without content, and a little tar at last."""
    return gzip.compress(b"", mtime=0) * count + gzip.compress(header(b"a", b"0") + bytes(1024))


def long_gzip_name(size: int) -> bytes:
    """A gzip header whose file name doesn't end."""
    return b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * size


def nested(content: bytes, depth: int) -> bytes:
    """Gzip in gzip."""
    for _ in range(depth):
        content = gzip.compress(content, 1, mtime=0)
    return content


def wide_window() -> bytes:
    """A zstd frame that wants gigabytes to be kept."""
    # RFC 8878: magic, descriptor without checksum and size, window of 2^41, one empty block.
    return b"\x28\xb5\x2f\xfd\x00" + bytes([0xF8]) + b"\x01\x00\x00"


def skippable_frames(count: int) -> bytes:
    """Zstd frames that are to be skipped, and an empty tar at last."""
    frames = struct.pack("<II", 0x184D2A50, 0) * count
    return zstandard.compress(b"") + frames + zstandard.compress(bytes(1024))

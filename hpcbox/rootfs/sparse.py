"""Sparse files in a tar: which parts of a file are there, in the four forms that are about.

GNU tar's manual, "Storing Sparse Files": its old form (type S), and versions 0.0, 0.1 and 1.0 in
PAX headers. A map that lies is refused: parts have to follow each other, lie inside the file and be
together what the tar holds.
"""

from collections.abc import Callable

from hpcbox.errors import BlobInvalid
from hpcbox.rootfs.tar_fields import decimal, number

Segments = tuple[tuple[int, int], ...]
"""(offset in the file, length) of the parts that are there, in bytes."""

PREFIX = b"GNU.sparse."
"""How the keys of PAX attributes of sparse files begin."""

_BLOCK = 512
# As for headers: a map of forty thousand parts.
_MAXIMUM_MAP_BYTES = 2**20
_NAME = b"GNU.sparse.name"
_OFFSET, _LENGTH, _MAP = b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"GNU.sparse.map"


def read_old(header: bytes, take: Callable[[int], bytes]) -> tuple[int, Segments]:
    """Return size and parts of a file of type S; `take` reads the headers that go on.

    Raises:
        BlobInvalid: the map is broken.
    """
    found = _old_parts(header[386:482])
    more = header[482]
    read = 0
    while more:
        read += _BLOCK
        if read > _MAXIMUM_MAP_BYTES:
            raise BlobInvalid("layer is broken: a sparse file has more parts than any file needs")
        block = take(_BLOCK)
        found += _old_parts(block[:504])
        more = block[504]
    return number(header[483:495]), tuple(found)


def _old_parts(table: bytes) -> list[tuple[int, int]]:
    found = []
    for at in range(0, len(table), 24):
        if not table[at + 12]:
            break
        found.append((number(table[at : at + 12]), number(table[at + 12 : at + 24])))
    return found


def is_sparse(attributes: dict[bytes, bytes]) -> bool:
    """Say whether PAX attributes are those of a sparse file."""
    return any(key.startswith(PREFIX) for key in attributes)


def joined(records: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return a sparse file's PAX records by key, with its own name and one map.

    Version 0.0 repeats keys; later versions have the file's name aside.
    """
    attributes = dict(records)
    if _NAME in attributes:
        attributes[b"path"] = attributes[_NAME]
    parts = [value for key, value in records if key in (_OFFSET, _LENGTH)]
    if parts:
        attributes[_MAP] = b",".join(parts)
    return attributes


def read_pax(
    attributes: dict[bytes, bytes], take: Callable[[int], bytes]
) -> tuple[int, Segments, int]:
    """Return size and parts of a file with PAX attributes; `take` reads from the file's content.

    The third number is how many bytes of the content were the map.

    Raises:
        BlobInvalid: the map is broken.
    """
    version = attributes.get(b"GNU.sparse.major"), attributes.get(b"GNU.sparse.minor")
    if version == (b"1", b"0"):
        numbers, read = _read_map(take)
        return decimal(attributes.get(b"GNU.sparse.realsize", b"")), _paired(numbers), read
    if version not in {(None, None), (b"0", b"0"), (b"0", b"1")}:
        raise BlobInvalid("layer is broken: a sparse file of an unknown form")
    text = attributes.get(_MAP, b"")
    numbers = [decimal(each) for each in text.split(b",")] if text else []
    return decimal(attributes.get(b"GNU.sparse.size", b"")), _paired(numbers), 0


def _read_map(take: Callable[[int], bytes]) -> tuple[list[int], int]:
    """Read version 1.0's map: decimal numbers, a line each; the first counts the parts."""
    blocks = [take(_BLOCK)]
    lines = blocks[0].count(b"\n")
    count = decimal(blocks[0].partition(b"\n")[0])
    while lines < 1 + 2 * count:
        if len(blocks) * _BLOCK > _MAXIMUM_MAP_BYTES:
            raise BlobInvalid("layer is broken: a sparse file has more parts than any file needs")
        blocks.append(take(_BLOCK))
        lines += blocks[-1].count(b"\n")
    numbers = b"".join(blocks).split(b"\n", 1 + 2 * count)[1 : 1 + 2 * count]
    return [decimal(number) for number in numbers], len(blocks) * _BLOCK


def _paired(numbers: list[int]) -> Segments:
    if len(numbers) % 2:
        raise BlobInvalid("layer is broken: a sparse file whose map ends within a part")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def checked(size_bytes: int, segments: Segments, stored_bytes: int) -> Segments:
    """Return the parts that hold something.

    Raises:
        BlobInvalid: they overlap, go back, leave the file, or are not what the tar holds.
    """
    end = 0
    for offset, length in segments:
        if offset < end or offset + length > size_bytes:
            raise BlobInvalid("layer is broken: a sparse file's parts overlap or leave the file")
        end = offset + length
    if sum(length for _, length in segments) != stored_bytes:
        raise BlobInvalid("layer is broken: a sparse file's parts are not what the tar holds")
    return tuple((offset, length) for offset, length in segments if length)

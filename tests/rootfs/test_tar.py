"""Headers in all their forms are read, damaged ones are not."""

import struct
import tarfile

import pytest

from hpcbox.errors import BlobInvalid
from hpcbox.rootfs.tar import FILE, FOLDER, TarReader, pieces_of
from tests.rootfs.unpacking import Bytes
from tests.services.small_images import Item, file, tar


def header(name: bytes, size: bytes = b"00000000005\0", flag: bytes = b"0") -> bytearray:
    """Return a header whose checksum is missing."""
    made = bytearray(512)
    made[: len(name)] = name
    made[100:108] = b"0000644\0"
    made[124:136] = size
    made[136:148] = b"00000000000\0"
    made[148:156] = b" " * 8
    made[156:157] = flag
    made[257:265] = b"ustar\x0000"
    return made


def summed(made: bytearray, *, signed: bool = False) -> bytes:
    """Return a header with its checksum."""
    values = struct.unpack("512b", made) if signed else made
    made[148:156] = b"%06o\0 " % sum(values)
    return bytes(made)


def test_contents_are_where_the_reader_says() -> None:
    names = ["short", "long/" * 60 + "name", "fine"]
    layer = tar(*[file(name, name.encode() * 300) for name in names], form=tarfile.GNU_FORMAT)

    for piece in (100, 512, 2**18):
        for entry, name in zip(TarReader(pieces_of(Bytes(layer, piece))), names, strict=True):
            end = entry.offset + entry.size_bytes
            assert layer[entry.offset : end] == name.encode() * 300


def test_a_checksum_of_signed_bytes_is_right_too() -> None:
    layer = summed(header("caf\xe9".encode("latin-1")), signed=True) + b"12345".ljust(512, b"\0")

    entries = list(TarReader(pieces_of(Bytes(layer))))

    assert [entry.name for entry in entries] == [b"caf\xe9"]


@pytest.mark.parametrize("at", [0, 100, 130, 148, 150, 300, 511])
def test_a_header_with_another_byte_is_refused(at: int) -> None:
    damaged = bytearray(summed(header(b"name")))
    damaged[at] ^= 1

    with pytest.raises(BlobInvalid, match="checksum"):
        list(TarReader(pieces_of(Bytes(bytes(damaged) + b"12345".ljust(512, b"\0")))))


@pytest.mark.parametrize(
    "size", [b"00000000005\0", b"         5 \0", b"5".rjust(12, b"0"), b"\x80" + bytes(10) + b"\5"]
)
def test_numbers_are_read_in_all_forms(size: bytes) -> None:
    layer = summed(header(b"name", size)) + b"12345".ljust(512, b"\0")

    reader = TarReader(pieces_of(Bytes(layer)))

    assert [
        (entry.size_bytes, b"".join(piece for _, piece in reader.content())) for entry in reader
    ] == [(5, b"12345")]


@pytest.mark.parametrize(
    "size", [b"0000000000x\0", b"00000000009\0", b"-0000000005\0", b"\xff" * 12]
)
def test_what_is_no_size_is_refused(size: bytes) -> None:
    with pytest.raises(BlobInvalid, match="number"):
        list(TarReader(pieces_of(Bytes(summed(header(b"name", size))))))


def test_a_folder_from_before_posix_may_have_content_that_is_passed_over() -> None:
    layer = summed(header(b"folder/")) + b"12345".ljust(512, b"\0") + tar(Item("file"))

    kinds = [(entry.name, entry.kind) for entry in TarReader(pieces_of(Bytes(layer)))]

    assert kinds == [(b"folder/", FOLDER), (b"file", FILE)]

"""Decompression: every form that layers come in, in bounded pieces."""

import gzip
import os
import tracemalloc

import pytest
import zstandard

from hpcbox.errors import BlobInvalid
from hpcbox.image.compression import decompressed
from tests.rootfs.unpacking import Bytes

CONTENT = os.urandom(100_000) + bytes(1_000_000)


def read_all(content: bytes, size: int = 2**18, piece: int = 2**16) -> bytes:
    stream = decompressed(Bytes(content, piece))
    pieces = []
    while block := stream.read(size):
        assert len(block) <= size
        pieces.append(block)
    return b"".join(pieces)


FORMS = {
    "gzip": gzip.compress(CONTENT),
    "gzip members": gzip.compress(CONTENT[:5000]) + gzip.compress(CONTENT[5000:]),
    "gzip padded": gzip.compress(CONTENT) + bytes(4096),
    "zstd": zstandard.compress(CONTENT),
    "zstd frames": zstandard.compress(CONTENT[:5000]) + zstandard.compress(CONTENT[5000:]),
    "none": CONTENT,
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("piece", [1, 1000, 2**16])
def test_every_form_gives_the_same_bytes(content: bytes, piece: int) -> None:
    assert read_all(content, piece=piece) == CONTENT


@pytest.mark.parametrize("content", [b"", b"a", b"abc"])
def test_contents_shorter_than_a_mark_are_left_as_they_are(content: bytes) -> None:
    assert read_all(content) == content


@pytest.mark.parametrize(
    "content",
    [FORMS["gzip"][:-9], FORMS["gzip"] + b"junk", b"\x1f\x8b" + b"x" * 40, b"\x28\xb5\x2f\xfdxxx"],
)
def test_broken_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(BlobInvalid, match="layer is broken"):
        read_all(content)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_bomb_needs_no_memory(compress: object) -> None:
    assert callable(compress)
    bomb = compress(bytes(200_000_000))
    stream = decompressed(Bytes(bomb))
    tracemalloc.start()

    total = 0
    while block := stream.read(2**18):
        total += len(block)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 200_000_000
    assert peak < 4_000_000


def test_a_zstd_frame_that_asks_for_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    stream = compressor.compressobj()
    frame = stream.compress(b"x" * 1000) + stream.flush()

    with pytest.raises(BlobInvalid):
        read_all(frame)

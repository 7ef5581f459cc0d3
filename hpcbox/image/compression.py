"""Decompression of layers with bounded memory, whatever the compressed bytes claim.

The form is told by the first bytes: gzip (RFC 1952, any number of members), zstd (RFC 8878) or
neither. isal is three times as fast as zlib.
"""

from typing import IO, Protocol, cast

import zstandard
from isal import igzip_lib, isal_zlib

from hpcbox.errors import BlobInvalid
from hpcbox.image.source import ByteStream

# So much that a reader of tars meets many headers at a time: decompressing leaves nothing of them
# in the caches of a processor.
_INPUT_BYTES = 2**18
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# What zstd needs to hold grows with the window that a frame asks for: 8 MiB up to level 19, 128 MiB
# at most by `zstd --ultra -22`, anything by --long. RFC 8878 wants 8 MiB to be enough.
_MAXIMUM_WINDOW = 2**26


class _Inflater(Protocol):
    eof: bool
    unused_data: bytes
    unconsumed_tail: bytes

    def decompress(self, data: bytes, limit: int) -> bytes: ...


def decompressed(source: ByteStream) -> ByteStream:
    """Return a stream of what `source` holds in compressed form.

    Its reads raise BlobInvalid when the compressed bytes are broken. It ends where the source
    ends, so a verified source has been verified then.
    """
    head = b""
    while len(head) < len(_ZSTD):
        piece = source.read(len(_ZSTD) - len(head))
        if not piece:
            break
        head += piece
    whole = _Prefixed(head, source)
    if head.startswith(_GZIP):
        return _Gzip(whole)
    if head == _ZSTD:
        return _Zstd(whole)
    return whole


class _Prefixed:
    """A stream with the bytes put back that were read to look at them."""

    def __init__(self, head: bytes, source: ByteStream) -> None:
        self._head = head
        self._source = source

    def read(self, size: int) -> bytes:
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        return self._source.read(size)

    def close(self) -> None:
        self._source.close()

    def abort(self) -> None:
        self._source.abort()


class _Gzip:
    def __init__(self, source: ByteStream) -> None:
        self._source = source
        self._inflater = _new_inflater()

    def read(self, size: int) -> bytes:
        while True:
            compressed = self._input()
            if not compressed:
                return b""
            try:
                piece = self._inflater.decompress(compressed, size)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub calls it an instance
                raise BlobInvalid(f"layer is broken: gzip: {error}") from error
            if piece:
                return piece

    def _input(self) -> bytes:
        if not self._inflater.eof:
            compressed = self._inflater.unconsumed_tail or self._source.read(_INPUT_BYTES)
            if not compressed:
                raise BlobInvalid("layer is broken: its gzip data end too early")
            return compressed
        # Another member may follow; zeros may, too: tapes were padded with them.
        rest = self._inflater.unused_data.lstrip(b"\0")
        while not rest:
            rest = self._source.read(_INPUT_BYTES)
            if not rest:
                return b""
            rest = rest.lstrip(b"\0")
        self._inflater = _new_inflater()
        return rest

    def close(self) -> None:
        self._source.close()

    def abort(self) -> None:
        self._source.abort()


def _new_inflater() -> _Inflater:
    return cast("_Inflater", isal_zlib.decompressobj(wbits=16 + isal_zlib.MAX_WBITS))


class _Zstd:
    def __init__(self, source: ByteStream) -> None:
        self._source = source
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAXIMUM_WINDOW)
        self._reader = decompressor.stream_reader(
            cast("IO[bytes]", source),  # only its read is called
            read_size=_INPUT_BYTES,
            read_across_frames=True,
            closefd=False,
        )

    def read(self, size: int) -> bytes:
        try:
            return self._reader.read(size)
        except zstandard.ZstdError as error:
            raise BlobInvalid(f"layer is broken: {error}") from error

    def close(self) -> None:
        self._source.close()

    def abort(self) -> None:
        self._source.abort()

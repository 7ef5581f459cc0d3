"""Reading with proof: a stream that ends well only if digest and size are what was asked for."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

from hpcbox.errors import DigestMismatch
from hpcbox.image.digest import Digest
from hpcbox.image.source import ByteStream

_Fetched = TypeVar("_Fetched")


class VerifiedStream:
    """A stream that raises at its end, and not later, when its bytes are the wrong ones.

    What has been read before the end is unverified: whoever stores it must not let anybody see it
    until `read` has returned nothing.
    """

    def __init__(
        self,
        source: ByteStream,
        digest: Digest,
        size_bytes: int | None,
        what: str,
        on_bytes: Callable[[bytes], None] | None = None,
    ) -> None:
        """Read from `source`.

        `what` names the content in error messages; `on_bytes` sees each piece, and may raise to
        end the reading.
        """
        self._source = source
        self._digest = digest
        self._size_bytes = size_bytes
        self._what = what
        self._on_bytes = on_bytes
        self._hash = hashlib.sha256()
        self._count = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the verified end.

        Raises:
            DigestMismatch: digest or size differ from what was asked for.
        """
        if self._ended:
            return b""
        piece = self._source.read(size)
        if not piece:
            self._check()
            self._ended = True
            return b""
        self._count += len(piece)
        if self._size_bytes is not None and self._count > self._size_bytes:
            raise self._mismatch(f"more than the {self._size_bytes} bytes that were promised came")
        self._hash.update(piece)
        if self._on_bytes is not None:
            self._on_bytes(piece)
        return piece

    def drain(self) -> None:
        """Read to the end and verify, keeping nothing."""
        while self.read(2**20):
            pass

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def abort(self) -> None:
        """End a read that another thread is waiting in."""
        self._source.abort()

    def _check(self) -> None:
        if self._size_bytes is not None and self._count != self._size_bytes:
            raise self._mismatch(f"{self._count} of {self._size_bytes} bytes came")
        if self._hash.hexdigest() != self._digest.hex:
            raise self._mismatch(f"the bytes have the digest sha256:{self._hash.hexdigest()}")

    def _mismatch(self, reason: str) -> DigestMismatch:
        return DigestMismatch(
            f"{self._what} {self._digest} is not what was asked for: {reason}",
            hint="nothing of it was kept; where it lies, or something on its way, alters it",
            digest=str(self._digest),
        )


def fetched(digest: Digest, fetch: Callable[[], _Fetched]) -> _Fetched:
    """Call `fetch`, and once more when bytes of this digest were altered on their way.

    Raises:
        DigestMismatch: they were altered both times, or are what somebody has made a wrong digest
            for.
    """
    try:
        return fetch()
    except DigestMismatch as error:
        if error.digest != str(digest):
            raise
    return fetch()

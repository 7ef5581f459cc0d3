"""Digests: the names of contents (OCI image-spec, descriptor.md). Only sha256 is in use."""

import hashlib
import re
from dataclasses import dataclass

from hpcbox.errors import ImageError, shorten

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256 digest; `parse` and `of` are its constructors from text and bytes.

    Attributes:
        hex: 64 lower-case hex digits.
    """

    hex: str

    @classmethod
    def parse(cls, text: object) -> "Digest":
        """Return the digest that is written as `sha256:HEX`.

        Raises:
            ImageError: it isn't one; the message says what is wrong with it.
        """
        if not isinstance(text, str):
            raise ImageError("a digest is missing where the specification wants one")
        algorithm, colon, digits = text.partition(":")
        shown = shorten(text, 90)
        if not colon:
            raise ImageError(f"'{shown}' is no digest", hint="sha256: and 64 hex digits are meant")
        if algorithm != "sha256":
            raise ImageError(f"digest '{shown}' is not of sha256, the only kind hpcbox reads")
        if len(digits) != 64:
            raise ImageError(f"digest '{shown}' has {len(digits)} characters after sha256:, not 64")
        if not _HEX.fullmatch(digits):
            raise ImageError(f"digest '{shown}' holds other characters than 0-9 and a-f")
        return cls(digits)

    @classmethod
    def of(cls, content: bytes) -> "Digest":
        """Return the digest of these bytes."""
        return cls(hashlib.sha256(content).hexdigest())

    def __str__(self) -> str:
        """`sha256:HEX`."""
        return f"sha256:{self.hex}"

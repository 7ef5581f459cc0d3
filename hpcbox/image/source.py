"""What the store asks of a place that images come from.

A source is bound to one image reference when it is made. Registries implement this directly
(`registry.py`), layouts, archives, folders and file system images of this machine too
(`rootfs/sources.py` chooses), the writer of a node's store through a relay (`relay_source.py`).
Nothing that a source hands out is verified: its readers verify.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor


@dataclass(frozen=True, slots=True)
class Resolved:
    """A platform's manifest as the source delivered it.

    Attributes:
        body: the manifest's bytes; their sha256 is the image's digest.
        media_type: what the source says they are.
        registry: where they came from, as HOST[:PORT]; `oci`, `dir` … for what lay on a machine.
        repository: the name inside the registry; the path of what lay on a machine.
        reference: the reference's text in its canonical form.
    """

    body: bytes
    media_type: str
    registry: str
    repository: str
    reference: str


class ByteStream(Protocol):
    """Bytes that arrive; a context manager whose end gives back the connection."""

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, at least one; none at the end.

        Raises:
            RegistryUnreachable: the sender stopped before the end.
        """

    def close(self) -> None:
        """Give back what the stream holds."""

    def abort(self) -> None:
        """End a read that another thread is waiting in; that thread still closes the stream."""


class Bytes:
    """Bytes that are there already, as a ByteStream."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end."""
        piece, self._left = self._left[:size], self._left[size:]
        return piece

    def close(self) -> None:
        """Hold nothing."""

    def abort(self) -> None:
        """Do nothing: nobody waits in a read."""


class ImageSource(Protocol):
    """One image, wherever it lies; its methods may be called from several threads."""

    def resolve(self) -> Resolved:
        """Fetch the manifest for this machine's platform.

        Raises:
            ImageError: there is none, it may not be had, or it can't be read.
        """

    def open_blob(self, descriptor: Descriptor) -> ByteStream:
        """Begin to fetch a blob.

        Raises:
            ImageError: there is none, or it may not be had.
        """

    def read_windows(
        self, descriptor: Descriptor, windows: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Fetch pieces (offset, length) of a blob: proof that this source may read it.

        Raises:
            ImageError: there is none, or it may not be had.
        """


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a layer came from: a blob in a repository of a registry."""

    registry: str
    repository: str
    blob: Digest


def read_exactly(stream: ByteStream, size: int) -> bytes:
    """Return `size` bytes, or fewer when the stream ends before."""
    pieces: list[bytes] = []
    missing = size
    while missing > 0:
        piece = stream.read(missing)
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)

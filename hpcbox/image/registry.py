"""A registry as a source of images: OCI distribution-spec, which Docker's v2 registries share."""

import contextlib
from collections.abc import Sequence

from urllib3.exceptions import HTTPError

from hpcbox.errors import (
    DigestMismatch,
    ImageNotFound,
    ManifestInvalid,
    RegistryRefused,
    RegistryUnreachable,
)
from hpcbox.image import media_types
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import (
    MAXIMUM_BYTES,
    Descriptor,
    Index,
    Platform,
    choose_platform,
    host_platform,
    parse_manifest,
)
from hpcbox.image.reference import Reference
from hpcbox.image.source import ByteStream, Resolved
from hpcbox.image.transport import Response, Transport
from hpcbox.settings import Settings


class RegistrySource:
    """One image of a registry, fetched with this account's credentials."""

    def __init__(
        self,
        reference: Reference,
        settings: Settings,
        *,
        platform: Platform | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._reference = reference
        self._platform = platform or host_platform()
        self._transport = transport or Transport(reference.registry, reference.repository, settings)

    def resolve(self) -> Resolved:
        """Fetch the manifest; of an index, the one for this machine's platform.

        Raises:
            ImageError: the image does not exist, may not be had, or its manifest is broken.
        """
        body, media_type = self._manifest(self._reference.target, self._reference.digest)
        parsed = parse_manifest(body, media_type)
        if isinstance(parsed, Index):
            chosen = choose_platform(parsed, self._platform)
            body, media_type = self._manifest(str(chosen.digest), chosen.digest)
            if isinstance(parse_manifest(body, media_type), Index):
                raise ManifestInvalid("an index stands where the index promised a manifest")
        return Resolved(
            body,
            media_type,
            self._reference.registry,
            self._reference.repository,
            str(self._reference),
        )

    def open_blob(self, descriptor: Descriptor) -> ByteStream:
        """Begin to fetch a blob.

        Raises:
            ImageError: it does not exist or may not be had.
        """
        return _Body(self._transport, self._blob(descriptor, {}))

    def read_windows(
        self, descriptor: Descriptor, windows: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Fetch pieces (offset, length) of a blob.

        A registry that knows no ranges sends the blob from its start: then the connection is cut
        behind the piece.

        Raises:
            ImageError: the blob does not exist or may not be had.
        """
        return [self._window(descriptor, offset, length) for offset, length in windows]

    def _window(self, descriptor: Descriptor, offset: int, length: int) -> bytes:
        asked = {"Range": f"bytes={offset}-{offset + length - 1}"}
        response = self._blob(descriptor, asked)
        body = _Body(self._transport, response)
        try:
            to_skip = 0 if response.status == 206 else offset
            while to_skip > 0:
                skipped = len(body.read(min(to_skip, 2**18)))
                if not skipped:
                    return b""
                to_skip -= skipped
            return read_exactly(body, length)
        finally:
            body.close()

    def _blob(self, descriptor: Descriptor, headers: dict[str, str]) -> Response:
        path = f"/v2/{self._reference.repository}/blobs/{descriptor.digest}"
        return self._checked(self._transport.get(path, headers), f"blob {descriptor.digest}")

    def _manifest(self, target: str, digest: Digest | None) -> tuple[bytes, str]:
        path = f"/v2/{self._reference.repository}/manifests/{target}"
        accepted = {"Accept": media_types.ACCEPT_MANIFESTS}
        response = self._checked(self._transport.get(path, accepted), None)
        stream = _Body(self._transport, response)
        try:
            body = read_exactly(stream, MAXIMUM_BYTES + 1)
        finally:
            stream.close()
        if len(body) > MAXIMUM_BYTES:
            raise ManifestInvalid(f"manifest has more than {MAXIMUM_BYTES} bytes")
        if digest is not None and Digest.of(body) != digest:
            raise DigestMismatch(
                f"the registry's manifest for {digest} has the digest {Digest.of(body)}",
                hint="the registry or something before it alters what it sends",
            )
        return body, media_types.plain(response.headers.get("Content-Type", ""))

    def _checked(self, response: Response, blob: str | None) -> Response:
        if response.status in (200, 206):
            return response
        status = response.status
        response.close()
        wanted = f"{blob} of {self._reference}" if blob else f"image {self._reference}"
        name = self._reference.registry
        if status == 404:
            raise ImageNotFound(
                f"registry {name} has no {wanted}",
                hint=None if blob else "check its name and tag",
            )
        if status == 403:
            raise RegistryRefused(
                f"registry {name} refused access to {wanted}",
                hint="this account may not read it: ask its owner",
            )
        if status == 429:
            raise RegistryUnreachable(
                f"registry {name} limits this account's or machine's requests",
                hint=f"log in with 'docker login {name}', or try again later",
            )
        raise RegistryUnreachable(f"registry {name} answers {status} to the request for {wanted}")


class _Body:
    """An answer's body as a ByteStream: urllib3's errors become hpcbox's."""

    def __init__(self, transport: Transport, response: Response) -> None:
        self._transport = transport
        self._response = response

    def read(self, size: int) -> bytes:
        try:
            return self._response.read(size, decode_content=False)
        except HTTPError as error:
            raise self._transport.unreachable(error) from error

    def abort(self) -> None:
        # It may have been read to its end just now: then there is nothing to shut down.
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    def close(self) -> None:
        # A body that was read to its end has given back its connection already.
        self._response.close()
        self._response.release_conn()


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

"""A registry as a source of images: OCI distribution-spec, which Docker's v2 registries share.

Mirrors are asked first, in their order and once each; whatever they answer counts by its digest,
and what they lack or refuse the registry is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from hpcbox.errors import (
    DigestMismatch,
    ImageNotFound,
    ManifestInvalid,
    RegistryRefused,
    RegistryUnreachable,
    shorten,
)
from hpcbox.image import answers, manifest_request, places
from hpcbox.image.credentials import FindCredentials
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import (
    Descriptor,
    Index,
    Platform,
    choose_platform,
    host_platform,
    parse_manifest,
)
from hpcbox.image.reference import Reference
from hpcbox.image.resuming import Open, Opened, ResumingStream
from hpcbox.image.retrying import Notice, Patience, silent
from hpcbox.image.source import ByteStream, Resolved, read_exactly
from hpcbox.image.transport import Transport
from hpcbox.settings import Settings

_MAXIMUM_DEPTH = 3
_MAXIMUM_INDEXES = 8

_Answer = TypeVar("_Answer")


class RegistrySource:
    """One image of a registry, fetched with this account's credentials."""

    def __init__(
        self,
        reference: Reference,
        settings: Settings,
        *,
        platform: Platform | None = None,
        limit_seconds: float | None = None,
        notice: Notice = silent,
        find_credentials: FindCredentials | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Prepare to fetch; nothing is sent yet.

        Args:
            reference: the image.
            settings: how its registry is reached.
            platform: in place of this machine's.
            limit_seconds: after which nothing is tried again.
            notice: is told in one line why a pull waits.
            find_credentials: in place of this account's files.
            sleep: for tests, in place of all waiting.
        """
        self._reference = reference
        self._shown = shorten(str(reference), 200)
        self._platform = platform or host_platform()
        self._indexes = 0
        self._unreachable: set[Transport] = set()
        self._served: dict[Digest, list[Transport]] = {}

        def transport(place: places.Place) -> Transport:
            return Transport(
                place,
                settings,
                f"pull {self._shown}",
                find_credentials=find_credentials,
                limit_seconds=limit_seconds,
                notice=notice,
                sleep=sleep,
            )

        name, repository = reference.registry, reference.repository
        self._registry = transport(places.place(name, repository, settings))
        self._mirrors = [transport(one) for one in places.mirrors(name, repository, settings)]

    def resolve(self) -> Resolved:
        """Fetch the manifest; of an index, the one for this machine's platform.

        Raises:
            ImageError: the image does not exist, may not be had, or its manifest is broken.
        """
        body, media_type = self._manifest(self._reference.target, self._reference.digest)
        parsed = parse_manifest(body, media_type)
        if isinstance(parsed, Index):
            chosen = self._chosen(parsed, 1)
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
        """Begin to fetch a blob; one that is cut goes on by itself.

        A second call for the same blob says that its first bytes were no good: then mirrors that
        served them are passed over.

        Raises:
            ImageError: it does not exist or may not be had.
        """
        served = self._served.setdefault(descriptor.digest, [])
        begin = self._opener(descriptor, frozenset(served), served)
        return ResumingStream(self._registry, begin, 0, descriptor.size_bytes)

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
        begin = self._opener(descriptor, frozenset(), [])
        body = ResumingStream(self._registry, begin, offset, offset + length)
        try:
            return read_exactly(body, length)
        finally:
            body.close()

    def _opener(
        self, descriptor: Descriptor, avoided: frozenset[Transport], served: list[Transport]
    ) -> Open:
        def begin(
            headers: Mapping[str, str], patience: Patience, failed: Transport | None
        ) -> Opened:
            def ask(transport: Transport, patience: Patience) -> Opened:
                path = f"/v2/{transport.place.repository}/blobs/{descriptor.digest}"
                response = transport.get(path, headers, patience)
                if response.status in (200, 206) or (headers and response.status == 416):
                    return Opened(transport, response)
                wanted = f"blob {descriptor.digest} of {self._shown}"
                raise answers.refusal(transport, response, wanted, None)

            opened = self._first(ask, patience, avoided | {failed})
            served.append(opened.transport)
            return opened

        return begin

    def _first(
        self,
        ask: Callable[[Transport, Patience], _Answer],
        patience: Patience,
        avoided: frozenset[Transport | None] = frozenset(),
    ) -> _Answer:
        """Return the first answer of mirrors and registry; the registry's failure counts."""
        for mirror in self._mirrors:
            if mirror in self._unreachable or mirror in avoided:
                continue
            try:
                return ask(mirror, Patience(0))
            except (RegistryUnreachable, RegistryRefused):
                self._unreachable.add(mirror)
            except (ImageNotFound, DigestMismatch, ManifestInvalid):
                continue
        return ask(self._registry, patience)

    def _manifest(self, target: str, digest: Digest | None) -> tuple[bytes, str]:
        def ask(transport: Transport, patience: Patience) -> tuple[bytes, str]:
            what = f"image {self._shown}"
            return manifest_request.fetch(transport, target, digest, what, patience)

        return self._first(ask, self._registry.patience())

    def _chosen(self, index: Index, depth: int) -> Descriptor:
        """Return the manifest for the platform, from the index or from indexes inside it."""
        try:
            return choose_platform(index, self._platform)
        except ImageNotFound:
            for descriptor in index.indexes:
                found = self._inside(descriptor, depth + 1)
                if found is not None:
                    return found
            raise

    def _inside(self, descriptor: Descriptor, depth: int) -> Descriptor | None:
        self._indexes += 1
        if depth > _MAXIMUM_DEPTH or self._indexes > _MAXIMUM_INDEXES:
            raise ManifestInvalid(
                f"the image's index holds more than {_MAXIMUM_INDEXES} indexes, or they lie"
                f" deeper than {_MAXIMUM_DEPTH}"
            )
        body, media_type = self._manifest(str(descriptor.digest), descriptor.digest)
        parsed = parse_manifest(body, media_type)
        if not isinstance(parsed, Index):
            raise ManifestInvalid("a manifest stands where the index promised an index")
        try:
            return self._chosen(parsed, depth)
        except ImageNotFound:
            return None

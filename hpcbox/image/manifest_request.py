"""One manifest or index from one place, whatever the place makes of the Accept header."""

from urllib3.exceptions import HTTPError

from hpcbox.errors import DigestMismatch, ImageError, ManifestInvalid
from hpcbox.image import answers, media_types
from hpcbox.image.connections import Response, read_document
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import MAXIMUM_BYTES
from hpcbox.image.retrying import Patience
from hpcbox.image.transport import Transport, drop

_NOT_SO = frozenset({404, 406, 415})


def fetch(
    transport: Transport, target: str, digest: Digest | None, what: str, patience: Patience
) -> tuple[bytes, str]:
    """Return the bytes of a manifest and the media type that the registry gives them.

    Args:
        transport: who is asked.
        target: tag or digest.
        digest: what the bytes must have, or None; the registry's own word on it does not count.
        what: the image, for errors.
        patience: for failures on the way.

    Raises:
        ImageError: there is none, it may not be had, or it is not what was asked for.
    """
    while True:
        response = _answer(transport, target, what, patience)
        media_type = media_types.plain(response.headers.get("Content-Type", ""))
        try:
            body = read_document(response, MAXIMUM_BYTES, transport.document_seconds)
        except HTTPError as error:
            patience.wait(transport.explained(error))
        else:
            break
    if len(body) > MAXIMUM_BYTES:
        raise ManifestInvalid(f"manifest has more than {MAXIMUM_BYTES} bytes")
    if digest is not None and Digest.of(body) != digest:
        raise DigestMismatch(
            f"the registry's manifest for {digest} has the digest {Digest.of(body)}",
            hint="the registry or something before it alters what it sends",
        )
    return body, media_type


def _answer(transport: Transport, target: str, what: str, patience: Patience) -> Response:
    path = f"/v2/{transport.place.repository}/manifests/{target}"
    first: ImageError | None = None
    for accepted in media_types.ACCEPT_MANIFESTS:
        response = transport.get(path, {"Accept": accepted}, patience)
        kind = media_types.plain(response.headers.get("Content-Type", ""))
        if response.status == 200 and kind not in media_types.DOCKER_SCHEMA_1:
            return response
        if response.status == 200:
            # Converted for a client that seemed to know nothing else.
            drop(response)
            first = first or ManifestInvalid(
                f"registry {transport.place.name} has {what} only as Docker's manifest of"
                " schema 1, which carries no sizes and no diff_ids",
                hint="push it again with a current tool",
            )
            continue
        status = response.status
        refusal = answers.refusal(transport, response, what, "check its name and tag")
        first = first or refusal
        if status not in _NOT_SO:
            break
    assert first is not None  # noqa: S101 - the loop runs at least once
    raise first

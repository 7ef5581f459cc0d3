"""An image that a source offers, as far as its manifest and config tell: which layers it has."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from hpcbox.errors import BlobInvalid, DigestMismatch, LayerRejected, ManifestInvalid
from hpcbox.image.compression import decompressed
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor, ImageConfig, Manifest, parse_config, parse_manifest
from hpcbox.image.source import ImageSource, Resolved, read_exactly
from hpcbox.image.verified import VerifiedStream, fetched


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image whose manifest and config have been verified.

    Attributes:
        digest: of the manifest.
        config: what the config says.
        config_body: the config as it came.
        layers: (diff_id, blob), bottom first.
    """

    digest: Digest
    config: ImageConfig
    config_body: bytes
    layers: tuple[tuple[Digest, Descriptor], ...]


def open_image(source: ImageSource, resolved: Resolved) -> OpenedImage:
    """Read the manifest that a source has resolved, and the config that it names.

    Raises:
        ImageError: they can't be had, or break the specification.
    """
    manifest = parse_manifest(resolved.body, resolved.media_type)
    if not isinstance(manifest, Manifest):
        raise ManifestInvalid("an index came where one platform's manifest was asked for")
    body = read_config(source, manifest)
    config = parse_config(body, len(manifest.layers))
    return OpenedImage(Digest.of(resolved.body), config, body, _bottom_first(config, manifest))


def read_config(source: ImageSource, manifest: Manifest) -> bytes:
    """Return the verified bytes of the config that a manifest names; raises as `open_image`."""
    wanted = manifest.config

    def fetch() -> bytes:
        stream = source.open_blob(wanted)
        blob = VerifiedStream(stream, wanted.digest, wanted.size_bytes, "image config")
        with closing(blob):
            body = read_exactly(blob, wanted.size_bytes)
            blob.drain()
        return body

    return fetched(wanted.digest, fetch)


def _bottom_first(config: ImageConfig, manifest: Manifest) -> tuple[tuple[Digest, Descriptor], ...]:
    # A layer that stands twice counts where it stands last: overlayfs takes each folder once, and
    # what the lower one adds, the upper one adds again.
    pairs = list(zip(config.diff_ids, manifest.layers, strict=True))
    return tuple(reversed(dict(reversed(pairs)).items()))


@contextmanager
def layer_tar(
    blob: VerifiedStream, diff_id: Digest, on_bytes: Callable[[bytes], None]
) -> Iterator[VerifiedStream]:
    """Give a layer's tar; what the with block leaves of it is read and verified at its end.

    `on_bytes` sees each piece of the tar, and may raise to end the reading.

    Raises:
        DigestMismatch: the blob or the tar is not what was asked for, whatever else was wrong.
        BlobInvalid: the blob is no compressed layer.
    """
    try:
        tar = VerifiedStream(decompressed(blob), diff_id, None, "layer", on_bytes)
        yield tar
        tar.drain()
    except (BlobInvalid, LayerRejected, DigestMismatch):
        # Bytes that were altered on their way look like a bad layer: the blob's digest tells.
        blob.drain()
        raise
    blob.drain()

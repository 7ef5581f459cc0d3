"""One pull for bench-images: python image_pull.py HOW STORE UID IMAGE, as root.

HOW is a sink, or "floor": the blobs fetched, decompressed and both digests checked with the same
libraries and as many threads, and nothing written: what any pull has to do. As on a node, root
becomes the service user, who reads the network's bytes and owns the store.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from hpcbox import principals  # noqa: E402
from hpcbox.image.compression import decompressed  # noqa: E402
from hpcbox.image.digest import Digest  # noqa: E402
from hpcbox.image.manifest import Descriptor, Manifest, parse_config, parse_manifest  # noqa: E402
from hpcbox.image.reference import Reference, parse  # noqa: E402
from hpcbox.image.registry import RegistrySource  # noqa: E402
from hpcbox.image.source import Resolved, read_exactly  # noqa: E402
from hpcbox.image.verified import VerifiedStream  # noqa: E402
from hpcbox.rootfs.sinks import sink_of  # noqa: E402
from hpcbox.settings import Settings  # noqa: E402
from hpcbox.store.forms import DIRECTORY, EROFS, INDEX, SQUASHFS  # noqa: E402
from hpcbox.store.pull import Limits, pull  # noqa: E402

FLOOR = "floor"
SINKS = (INDEX, EROFS, SQUASHFS, DIRECTORY)


def opened(image: str, settings: Settings) -> RegistrySource:
    """Return an image of a registry as a source.

    Raises:
        SystemExit: it is none of a registry.
    """
    reference = parse(image, settings.default_registry)
    if not isinstance(reference, Reference):
        raise SystemExit("an image of a registry is wanted")
    return RegistrySource(reference, settings)


def manifest_of(resolved: Resolved) -> Manifest:
    """Return the manifest that a source answered with.

    Raises:
        SystemExit: it is an index.
    """
    manifest = parse_manifest(resolved.body, resolved.media_type)
    if not isinstance(manifest, Manifest):
        raise SystemExit("an index came where one platform's manifest was asked for")
    return manifest


def floor(source: RegistrySource, threads: int) -> str:
    """Read all layers of an image with proof and keep nothing; return the manifest's digest."""
    resolved = source.resolve()
    manifest = manifest_of(resolved)
    with closing(source.open_blob(manifest.config)) as blob:
        body = read_exactly(blob, manifest.config.size_bytes)
    config = parse_config(body, len(manifest.layers))

    def read(layer: Descriptor, diff_id: Digest) -> None:
        opened = source.open_blob(layer)
        with closing(VerifiedStream(opened, layer.digest, layer.size_bytes, "blob")) as blob:
            VerifiedStream(decompressed(blob), diff_id, None, "layer").drain()
            blob.drain()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, manifest.layers, config.diff_ids))
    return str(Digest.of(resolved.body))


def main(how: str, store: str, uid: int, image: str) -> None:
    """Pull and print the digest of the image's manifest."""
    settings = Settings(store=store)
    source = opened(image, settings)
    principals.become(uid, uid)
    if how == FLOOR:
        print(floor(source, settings.pull_threads))
        return
    limits = Limits(settings.max_image_bytes, settings.max_entries, settings.pull_threads)
    print(pull(source, store, sink_of(how), limits, lambda _progress: None).digest)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])

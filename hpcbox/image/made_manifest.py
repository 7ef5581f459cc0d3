"""Manifests for images that come without one; equal input gives equal bytes, so equal digests."""

import json
from collections.abc import Sequence

from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor, host_platform
from hpcbox.image.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def manifest_body(config: bytes, layers: Sequence[tuple[Digest, int]]) -> bytes:
    """Return the manifest of a config and layers (digest, size in bytes) from bottom to top."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, Digest.of(config), len(config)),
        "layers": [_descriptor(OCI_LAYER, digest, size) for digest, size in layers],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def config_body(layer: Digest, environment: Sequence[str]) -> bytes:
    """Return the config of a root file system that is a single layer.

    `environment` is NAME=VALUE; a PATH is added where there is none.
    """
    platform = host_platform()
    variables = list(environment)
    if not any(one.startswith("PATH=") for one in variables):
        variables.append(_PATH)
    document = {
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Env": variables},
        "rootfs": {"type": "layers", "diff_ids": [str(layer)]},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def config_descriptor(config: bytes) -> Descriptor:
    """Return the descriptor of a config."""
    return Descriptor(OCI_CONFIG, Digest.of(config), len(config))


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(digest), "size": size}

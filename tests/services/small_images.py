"""Small images made in memory: layers of a few entries, wrong in whatever way a test wants."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import zstandard

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MTIME = 1_600_000_000


class Pushable(Protocol):
    """Where an image can be pushed: a real registry or a misbehaving one."""

    def push_blob(self, repository: str, data: bytes) -> str:
        """Store a blob."""

    def push_manifest(self, repository: str, tag: str, body: bytes, media_type: str) -> str:
        """Store a manifest."""


@dataclass(frozen=True)
class Item:
    """An entry of a layer; the defaults make it a file."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    target: str = ""
    mode: int = 0o644
    pax: dict[str, str] = field(default_factory=dict)
    mtime: int = _MTIME


def file(name: str, content: bytes = b"x\n", mode: int = 0o644) -> Item:
    """A file."""
    return Item(name, content, mode=mode)


def folder(name: str, mode: int = 0o755) -> Item:
    """A folder."""
    return Item(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> Item:
    """A symlink."""
    return Item(name, kind=tarfile.SYMTYPE, target=target, mode=0o777)


def hardlink(name: str, target: str) -> Item:
    """A hardlink."""
    return Item(name, kind=tarfile.LNKTYPE, target=target)


def whiteout(name: str) -> Item:
    """An entry that says the name is gone."""
    parent, slash, last = name.rpartition("/")
    return Item(f"{parent}{slash}.wh.{last}")


def opaque(name: str) -> Item:
    """An entry that says all that lay in the folder is gone."""
    return Item(f"{name}/.wh..wh..opq")


def tar(*items: Item, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar with the entries in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for item in items:
            entry = tarfile.TarInfo(item.name)
            entry.type = item.kind
            entry.mode = item.mode
            entry.linkname = item.target
            entry.mtime = item.mtime
            entry.size = len(item.content)
            entry.pax_headers = dict(item.pax)
            archive.addfile(entry, io.BytesIO(item.content))
    return buffer.getvalue()


def compressed(layer: bytes, how: str) -> bytes:
    """Return a layer's blob: `gzip`, `zstd` or `none`."""
    if how == "gzip":
        return gzip.compress(layer, 1, mtime=0)
    return zstandard.compress(layer) if how == "zstd" else layer


def digest(content: bytes) -> str:
    """Return `sha256:HEX` of the bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def config_body(diff_ids: Sequence[str], **run: object) -> bytes:
    """Return an image config with these diff_ids and run settings (Env, Cmd…)."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }
    return json.dumps(document).encode()


def descriptor(media_type: str, content: bytes) -> dict[str, object]:
    """Return the descriptor of a blob."""
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def push_image(
    registry: Pushable,
    name: str,
    *layers: bytes,
    how: str = "gzip",
    media_type: str = OCI_MANIFEST,
    diff_ids: Sequence[str] | None = None,
    **run: object,
) -> str:
    """Push an image of these tars as NAME:TAG; return its manifest's digest.

    `diff_ids` are the true ones unless a test wants others.
    """
    repository, _, tag = name.rpartition(":")
    config = config_body(diff_ids or [digest(layer) for layer in layers], **run)
    blobs = [compressed(layer, how) for layer in layers]
    for blob in (*blobs, config):
        registry.push_blob(repository, blob)
    suffix = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}[how]
    layer_type, config_type = _OCI_LAYER + suffix, "application/vnd.oci.image.config.v1+json"
    if media_type == DOCKER_MANIFEST:
        layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        config_type = "application/vnd.docker.container.image.v1+json"
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config_type, config),
            "layers": [descriptor(layer_type, blob) for blob in blobs],
        }
    ).encode()
    return registry.push_manifest(repository, tag, body, media_type)


def push_index(
    registry: Pushable,
    name: str,
    manifests: dict[str, tuple[str, int]],
    media_type: str = OCI_INDEX,
) -> str:
    """Push an index: architecture → (manifest digest, size in bytes); return its digest."""
    repository, _, tag = name.rpartition(":")
    inner = DOCKER_MANIFEST if media_type == DOCKER_LIST else OCI_MANIFEST
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [
                {
                    "mediaType": inner,
                    "digest": manifest,
                    "size": size,
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for architecture, (manifest, size) in manifests.items()
            ],
        }
    ).encode()
    return registry.push_manifest(repository, tag, body, media_type)

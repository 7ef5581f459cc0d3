"""Manifests, indexes and image configs: strict readers of JSON that a stranger wrote.

Nothing here talks to anybody. OCI image-spec (manifest.md, image-index.md, config.md) and Docker's
"Image Manifest V 2, Schema 2". What matters to a container root is checked exactly; fields that
hpcbox doesn't use are not looked at.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpcbox.errors import ImageError, ImageNotFound, ManifestInvalid, shorten
from hpcbox.image import media_types
from hpcbox.image.digest import Digest

MAXIMUM_BYTES = 4 * 2**20
"""Limit for a manifest, an index and a config: the least that registries must accept."""

MAXIMUM_LAYERS = 500
"""Overlay stacks at most this many lower layers (OVL_MAX_STACK in fs/overlayfs/params.h)."""

_MAXIMUM_BLOB_BYTES = 2**50
# Which variants a machine runs, the best first; an entry without one is the architecture's base.
_VARIANTS = {
    "amd64": ("", "v1"),
    "arm64": ("v8", ""),
    "arm/v7": ("v7", "v6", "v5", ""),
    "arm/v6": ("v6", "v5", ""),
}
_ARM_32 = {"armv7l": "v7", "armv6l": "v6"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob as a manifest names it: media type, digest, exact size in bytes."""

    media_type: str
    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, in Go's words (amd64, arm64)."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        """`linux/amd64`, `linux/arm/v7`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of one platform's image; layers from bottom to top."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """The manifests of several platforms (OCI index, Docker manifest list).

    Attributes:
        manifests: what may be chosen, in the order of the index.
        indexes: indexes inside it, which may have more.
    """

    manifests: tuple[tuple[Platform, Descriptor], ...]
    indexes: tuple[Descriptor, ...] = ()


@dataclass(frozen=True, slots=True)
class LayoutEntry:
    """A manifest or index that the index.json of an image layout names.

    Attributes:
        name: org.opencontainers.image.ref.name, or "".
        platform: None when it isn't said.
        descriptor: of the manifest or index.
    """

    name: str
    platform: Platform | None
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a container needs of an image's config; diff_ids from bottom to top."""

    diff_ids: tuple[Digest, ...]
    environment: tuple[str, ...]
    workdir: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    user: str


def host_platform() -> Platform:
    """Return the platform of this machine."""
    machine = os.uname().machine
    if machine in _ARM_32:
        return Platform("linux", "arm", _ARM_32[machine])
    return Platform("linux", _ARCHITECTURES.get(machine, machine))


def parse_manifest(body: bytes, media_type: str) -> Manifest | Index:
    """Read a manifest or an index.

    `media_type` is what the registry said; the document's own word, where it has one, must agree.

    Raises:
        ManifestInvalid: the bytes break the specification or are of a kind hpcbox can't use.
    """
    document = _document(body, "manifest")
    kind = _kind(document, media_type)
    if kind in media_types.INDEXES:
        return _index(document)
    layers = tuple(
        _layer(item, number) for number, item in enumerate(_list(document, "layers"), start=1)
    )
    if len(layers) > MAXIMUM_LAYERS:
        raise ManifestInvalid(f"manifest has {len(layers)} layers, {MAXIMUM_LAYERS} are allowed")
    config = _descriptor(document.get("config"), "config")
    if config.media_type not in media_types.CONFIGS:
        raise ManifestInvalid(
            f"this is no container image: its config is of type '{shorten(config.media_type, 80)}'"
        )
    if config.size_bytes > MAXIMUM_BYTES:
        raise ManifestInvalid(f"image config has {config.size_bytes} bytes, limit {MAXIMUM_BYTES}")
    return Manifest(kind, config, layers)


def parse_layout(body: bytes) -> tuple[LayoutEntry, ...]:
    """Read the index.json of an OCI image layout.

    Raises:
        ManifestInvalid: the bytes break the specification.
    """
    document = _document(body, "index.json")
    found = []
    for item in _list(document, "manifests"):
        descriptor = _descriptor(item, "index.json")
        if descriptor.media_type not in media_types.MANIFESTS + media_types.INDEXES:
            continue
        annotations = _table(item.get("annotations") or {}, "annotations of index.json")
        platform = item.get("platform")
        offered = None
        if isinstance(platform, dict):
            offered = Platform(_text(platform, "os"), _text(platform, "architecture"))
        name = _text(annotations, "org.opencontainers.image.ref.name")
        found.append(LayoutEntry(name, offered, descriptor))
    return tuple(found)


def choose_platform(index: Index, platform: Platform) -> Descriptor:
    """Return the manifest for a platform: of its best variant the first one that is listed.

    Raises:
        ImageNotFound: the index has none; says which it has.
    """
    name = "/".join(part for part in (platform.architecture, platform.variant) if part)
    for variant in _VARIANTS.get(name, (platform.variant,)):
        wanted = Platform(platform.os, platform.architecture, variant)
        for offered, descriptor in index.manifests:
            if offered == wanted:
                return descriptor
    known = {str(offered) for offered, _ in index.manifests if offered.os != "unknown"}
    raise ImageNotFound(
        f"the image has no variant for {platform}",
        hint=f"it has {shorten(', '.join(sorted(known)), 300) or 'none at all'}",
    )


def parse_config(body: bytes, layer_count: int) -> ImageConfig:
    """Read an image config; it must list one diff_id for each layer of the manifest.

    Raises:
        ManifestInvalid: the bytes break the specification.
    """
    document = _document(body, "image config")
    rootfs = _table(document.get("rootfs"), "rootfs")
    if rootfs.get("type") != "layers":
        raise ManifestInvalid("image config: rootfs is not of type 'layers'")
    diff_ids = tuple(_digest(item, "diff_ids") for item in _list(rootfs, "diff_ids"))
    if len(diff_ids) != layer_count:
        raise ManifestInvalid(
            f"image config lists {len(diff_ids)} diff_ids for the manifest's {layer_count} layers"
        )
    run = _table(document.get("config") or {}, "config")
    return ImageConfig(
        diff_ids=diff_ids,
        environment=tuple(item for item in _texts(run, "Env") if "=" in item[1:]),
        workdir=_text(run, "WorkingDir"),
        entrypoint=_texts(run, "Entrypoint"),
        command=_texts(run, "Cmd"),
        user=_text(run, "User"),
    )


def _document(body: bytes, what: str) -> dict[str, Any]:
    if len(body) > MAXIMUM_BYTES:
        raise ManifestInvalid(f"{what} has more than {MAXIMUM_BYTES} bytes")
    try:
        return _table(json.loads(body.decode("utf-8")), what)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"{what} is no JSON: {shorten(str(error), 120)}") from error


def _kind(document: dict[str, Any], said: str) -> str:
    own = document.get("mediaType")
    if said in media_types.DOCKER_SCHEMA_1 or document.get("schemaVersion") == 1:
        raise ManifestInvalid(
            "the image has Docker's manifest of schema 1, which carries no sizes and no diff_ids",
            hint="push it again with a current tool",
        )
    if document.get("schemaVersion") != 2:
        raise ManifestInvalid("manifest: schemaVersion is not 2")
    # CVE-2021-41190: bytes that are a manifest to one reader and an index to another.
    if "manifests" in document and ("layers" in document or "config" in document):
        raise ManifestInvalid("manifest is an index and an image at once")
    known = media_types.MANIFESTS + media_types.INDEXES
    kind = _deduced(document) if own is None and said not in known else own or said
    if own is not None and said in known and own != said:
        raise ManifestInvalid(
            f"manifest says it is '{shorten(str(own), 80)}', the registry '{said}'"
        )
    if kind not in known:
        raise ManifestInvalid(f"'{shorten(str(kind), 80)}' is no manifest that hpcbox can read")
    return str(kind)


def _deduced(document: dict[str, Any]) -> object:
    """Return the kind of a document that neither itself nor the registry names."""
    if "manifests" in document:
        return media_types.OCI_INDEX
    config = document.get("config")
    if isinstance(config, dict) and config.get("mediaType") == media_types.DOCKER_CONFIG:
        return media_types.DOCKER_MANIFEST
    return media_types.OCI_MANIFEST if "layers" in document else None


def _index(document: dict[str, Any]) -> Index:
    found, indexes = [], []
    for item in _list(document, "manifests"):
        descriptor = _descriptor(item, "manifests")
        # An entry without platform, or of another kind (an artifact), is no candidate; it doesn't
        # make the others wrong.
        platform = item.get("platform")
        if descriptor.media_type in media_types.INDEXES:
            indexes.append(descriptor)
        elif descriptor.media_type in media_types.MANIFESTS and isinstance(platform, dict):
            names = (_text(platform, name) for name in ("os", "architecture", "variant"))
            found.append((Platform(*names), descriptor))
    return Index(tuple(found), tuple(indexes))


def _layer(item: Any, number: int) -> Descriptor:
    descriptor = _descriptor(item, f"layer {number}")
    if descriptor.media_type not in media_types.LAYERS:
        shown = shorten(descriptor.media_type, 80)
        raise ManifestInvalid(f"layer {number} is of type '{shown}', which is no layer of files")
    return descriptor


def _descriptor(item: Any, what: str) -> Descriptor:
    table = _table(item, what)
    size = table.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAXIMUM_BLOB_BYTES:
        raise ManifestInvalid(f"manifest: {what} has no usable size ({shorten(str(size), 40)})")
    media_type = table.get("mediaType")
    if not isinstance(media_type, str):
        raise ManifestInvalid(f"manifest: {what} has no media type")
    return Descriptor(media_type, _digest(table.get("digest"), what), size)


def _digest(item: Any, what: str) -> Digest:
    try:
        return Digest.parse(item)
    except ImageError as error:
        raise ManifestInvalid(f"manifest: {what}: {error.message}") from error


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{what} is not a JSON object")
    return value


def _list(table: dict[str, Any], key: str) -> Sequence[Any]:
    value = table.get(key)
    if not isinstance(value, list):
        raise ManifestInvalid(f"manifest: '{key}' is no list")
    return value


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key) or ""
    if not isinstance(value, str) or "\0" in value:
        raise ManifestInvalid(f"image config: '{key}' is no text")
    return value


def _texts(table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key) or []
    # Docker's schema allows a bare string for Entrypoint and Cmd: a shell command.
    if isinstance(value, str):
        value = ["/bin/sh", "-c", value]
    if not isinstance(value, list):
        raise ManifestInvalid(f"image config: '{key}' is no list")
    if not all(isinstance(item, str) and "\0" not in item for item in value):
        raise ManifestInvalid(f"image config: '{key}' holds something that is no text")
    return tuple(value)

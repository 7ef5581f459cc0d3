"""Manifests, indexes and configs: refused with one short line, or values of the promised types."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from target import Target, promise

from hpcbox.errors import HpcboxError
from hpcbox.image import manifest, media_types
from hpcbox.image.manifest import Descriptor, ImageConfig, Index, Manifest

_DIGEST = "sha256:" + "0123456789abcdef" * 4
_SAID = (*media_types.MANIFESTS, *media_types.INDEXES, "")
_MAXIMUM_BLOB_BYTES = 2**50
# A first byte from here on: the rest says what is changed in a good document.
_MADE = 20


_VALUES: Sequence[object] = (
    None, True, 0, 1, 2, -1, 1.5, 2**60, "", "a", "=", "A=b", "\0", "\x1b[2J", "\ud800", _DIGEST,
    "sha256:" + "0" * 63, "md5:" + "0" * 32, [], {}, [1], ["a"], ["\0"], {"a": 1}, "x" * 300,
    *media_types.MANIFESTS, *media_types.INDEXES, *media_types.CONFIGS, *media_types.LAYERS[:4],
)  # fmt: skip


def _documents() -> Sequence[dict[str, Any]]:
    config = {"mediaType": media_types.OCI_CONFIG, "digest": _DIGEST, "size": 7}
    layer = {"mediaType": media_types.OCI_LAYER_GZIP, "digest": _DIGEST, "size": 9, "urls": ["a"]}
    platform = {"os": "linux", "architecture": "amd64"}
    head = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST}
    run = {"Env": ["A=b"], "Cmd": "sh", "Entrypoint": ["a"], "WorkingDir": "/", "User": "1:2"}
    inner = {**layer, "mediaType": media_types.OCI_MANIFEST, "platform": platform}
    named = {**inner, "annotations": {"org.opencontainers.image.ref.name": "1"}}
    return (
        {**head, "config": config, "layers": [layer]},
        {**head, "mediaType": media_types.OCI_INDEX, "manifests": [named, inner]},
        {"rootfs": {"type": "layers", "diff_ids": [_DIGEST]}, "config": run},
        {"schemaVersion": 1, "fsLayers": []},
    )


def _seeds() -> Sequence[bytes]:
    return [
        *(bytes([at % 5]) + json.dumps(one).encode() for at, one in enumerate(_documents())),
        *(bytes([_MADE + said, number]) for said in range(5) for number in range(4)),
    ]


def _body(data: bytes) -> bytes:
    """Return bytes as they are, or a document with some of its values changed for others."""
    if data[0] < _MADE:
        return data[1:]
    documents = _documents()
    document = documents[data[1] % len(documents)] if len(data) > 1 else documents[0]
    for at in range(2, min(len(data) - 1, 16), 2):
        places = list(_places(document))
        if places:
            table, key = places[data[at] % len(places)]
            table[key] = deepcopy(_VALUES[data[at + 1] % len(_VALUES)])
    return json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (table or list, key) in a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _check(data: bytes) -> None:
    if not data:
        return
    said, body = _SAID[data[0] % len(_SAID)], _body(data)
    for read in (
        lambda: manifest.parse_manifest(body, said),
        lambda: manifest.parse_layout(body),
        lambda: manifest.parse_config(body, 1),
    ):
        try:
            found = read()
        except HpcboxError as error:
            promise(str(error).isprintable(), "a message moves the terminal")
            promise(len(str(error)) <= 600, "a message is longer than 600 characters")
            continue
        if isinstance(found, Manifest):
            for descriptor in (found.config, *found.layers):
                _check_descriptor(descriptor)
        elif isinstance(found, Index):
            for platform, descriptor in found.manifests:
                promise(type(platform.os) is str, "a platform is no text")
                _check_descriptor(descriptor)
            with contextlib.suppress(HpcboxError):
                manifest.choose_platform(found, manifest.host_platform())
        elif isinstance(found, ImageConfig):
            _check_config(found)
        else:
            for entry in found:
                promise(type(entry.name) is str, "a name is no text")
                _check_descriptor(entry.descriptor)


def _check_descriptor(found: Descriptor) -> None:
    promise(type(found.size_bytes) is int, "a size is no number")
    promise(0 <= found.size_bytes <= _MAXIMUM_BLOB_BYTES, "a size is none that a blob can have")
    promise(len(found.digest.hex) == 64, "a digest has another length")
    promise(type(found.media_type) is str, "a media type is no text")


def _check_config(found: ImageConfig) -> None:
    for text in (*found.environment, *found.entrypoint, *found.command, found.workdir, found.user):
        promise(type(text) is str, "a word is no text")
        promise("\0" not in text, "a word holds a NUL byte")
    promise(all("=" in text[1:] for text in found.environment), "a variable has no name")


def _plant() -> str:
    def trusting(table: dict[str, str], key: str) -> str:
        return table.get(key) or ""

    manifest._text = trusting  # noqa: SLF001 - that is what planting means
    return "texts of a manifest may be anything"


TARGET = Target(
    ("hpcbox.image.manifest", "hpcbox.image.digest"), _seeds, _check, _plant, longest_bytes=4096
)

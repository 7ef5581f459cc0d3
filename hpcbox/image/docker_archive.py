"""What `docker save` and `podman save` write, as a source of images (`docker-archive:FILE[:REF]`).

Its manifest.json names a config and tars of layers, without digests; a manifest is made of them.
Docker's image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format". Layers lie in
ID/layer.tar, in HEX.tar or, since Docker 25, in blobs/sha256/HEX.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpcbox.errors import ImageNotFound, ManifestInvalid, ReferenceInvalid, shorten
from hpcbox.image import made_manifest, media_types
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import MAXIMUM_BYTES, MAXIMUM_LAYERS, Descriptor, parse_config
from hpcbox.image.oci_layout import split_name
from hpcbox.image.reference import LocalReference, parse
from hpcbox.image.source import Bytes, ByteStream, Resolved
from hpcbox.image.tar_index import Member, TarIndex

_MANIFEST = "manifest.json"
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_PIECE_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class _Image:
    config: str
    names: tuple[str, ...]
    layers: tuple[str, ...]


class DockerArchiveSource:
    """One image of an archive."""

    def __init__(self, reference: LocalReference) -> None:
        """Look at the archive.

        Raises:
            ImageError, PermissionRefused: there is none, it has no such image, or can't be read.
        """
        self._reference = reference
        self._path, self._name = split_name(reference.location, is_folder=False)
        self._index = TarIndex(self._path)
        image = self._choose(_images(self._index))
        self._config = self._index.read(image.config, MAXIMUM_BYTES)
        diff_ids = parse_config(self._config, len(image.layers)).diff_ids
        self._layers = [
            self._layer(name, diff_id) for name, diff_id in zip(image.layers, diff_ids, strict=True)
        ]

    def resolve(self) -> Resolved:
        """Return the manifest that is made of what the archive holds."""
        layers = [(digest, member.size_bytes) for digest, member in self._layers]
        body = made_manifest.manifest_body(self._config, layers)
        form = self._reference.form.removesuffix(":")
        return Resolved(body, media_types.OCI_MANIFEST, form, self._path, str(self._reference))

    def open_blob(self, descriptor: Descriptor) -> ByteStream:
        """Begin to read the config or a layer.

        Raises:
            ImageError, PermissionRefused: it isn't there, or can't be read any more.
        """
        if descriptor.digest == Digest.of(self._config):
            return Bytes(self._config)
        return self._index.open(self._member(descriptor.digest))

    def read_windows(
        self, descriptor: Descriptor, windows: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Read pieces (offset, length) of a layer; raises as `open_blob` does."""
        return self._index.open(self._member(descriptor.digest)).windows(windows)

    def _member(self, wanted: Digest) -> Member:
        for digest, member in self._layers:
            if digest == wanted:
                return member
        raise ImageNotFound(f"{shorten(self._path, 160)} has no layer {wanted}")

    def _choose(self, images: list[_Image]) -> _Image:
        wanted = _whole_name(self._name)
        found = [one for one in images if not wanted or wanted in map(_whole_name, one.names)]
        if len(found) == 1:
            return found[0]
        names = shorten(", ".join(name for one in images for name in one.names), 300)
        held = f"no image '{shorten(self._name, 80)}'" if wanted else f"{len(images)} images"
        error = ImageNotFound if wanted or not images else ReferenceInvalid
        raise error(
            f"{shorten(self._path, 160)} holds {held}",
            hint=f"docker-archive:FILE:NAME:TAG names one; it has {names or 'none with a name'}",
        )

    def _layer(self, name: str, diff_id: Digest) -> tuple[Digest, Member]:
        """Return a layer's digest as a blob; a plain tar's is its diff_id, as its reader checks."""
        member = self._index.member(name)
        part = self._index.open(member)
        try:
            piece = part.read(_PIECE_BYTES)
            if not piece.startswith(_COMPRESSED):
                return diff_id, member
            digest = hashlib.sha256()
            while piece:
                digest.update(piece)
                piece = part.read(_PIECE_BYTES)
            return Digest(digest.hexdigest()), member
        finally:
            part.close()


def _images(index: TarIndex) -> list[_Image]:
    if _MANIFEST not in index:
        oci = "oci-layout" in index
        raise ManifestInvalid(
            f"{shorten(index.path, 160)} is no Docker archive: it has no file '{_MANIFEST}'",
            hint="it is an OCI archive: write oci-archive:FILE"
            if oci
            else "what 'docker save' writes is meant",
        )
    try:
        document = json.loads(index.read(_MANIFEST, MAXIMUM_BYTES))
        return [_image(item) for item in document]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestInvalid(
            f"{_MANIFEST} of {shorten(index.path, 160)} breaks its specification: "
            f"{shorten(str(error), 80)}"
        ) from error


def _image(item: Any) -> _Image:
    image = _Image(item["Config"], tuple(item.get("RepoTags") or ()), tuple(item["Layers"]))
    if not all(isinstance(text, str) for text in (image.config, *image.names, *image.layers)):
        raise TypeError("a name is no text")
    if len(image.layers) > MAXIMUM_LAYERS:
        raise ValueError(f"{len(image.layers)} layers, {MAXIMUM_LAYERS} are allowed")
    return image


def _whole_name(name: str) -> str:
    try:
        return str(parse(name)) if name else ""
    except ReferenceInvalid:
        return name

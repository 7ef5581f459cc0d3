"""OCI image layouts as a source of images: a folder (`oci:`) or a tar of one (`oci-archive:`).

OCI image-spec, image-layout.md. Blobs are found by their digests alone, so no name of a stranger
becomes a path; like everything that a source hands out, their bytes are verified by the reader.
"""

import os
from collections.abc import Sequence
from typing import Protocol

from hpcbox.errors import (
    DigestMismatch,
    ImageNotFound,
    ManifestInvalid,
    ReferenceInvalid,
    shorten,
)
from hpcbox.image import local_file
from hpcbox.image.digest import Digest
from hpcbox.image.local_file import Part
from hpcbox.image.manifest import (
    MAXIMUM_BYTES,
    Descriptor,
    Index,
    LayoutEntry,
    Platform,
    choose_platform,
    host_platform,
    parse_layout,
    parse_manifest,
)
from hpcbox.image.media_types import DOCKER_MANIFEST, OCI_MANIFEST
from hpcbox.image.reference import OCI_FOLDER, LocalReference
from hpcbox.image.source import ByteStream, Resolved
from hpcbox.image.tar_index import TarIndex

_INDEX = "index.json"
_MARK = "oci-layout"
# An index of indexes is allowed; a chain of them has something in mind.
_MAXIMUM_NESTING = 4


class Files(Protocol):
    """Where the files of a layout lie."""

    def open(self, name: str) -> Part:
        """Begin to read a file.

        Raises:
            ImageError, PermissionRefused: there is none, or it can't be read.
        """

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a small file; raises as `open` does."""


class _Folder:
    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, name: str) -> Part:
        return Part(os.path.join(self._path, name))

    def read(self, name: str, limit: int) -> bytes:
        return local_file.read_whole(os.path.join(self._path, name), limit, f"'{name}'")


class _Archive:
    def __init__(self, path: str) -> None:
        self._index = TarIndex(path)

    def open(self, name: str) -> Part:
        return self._index.open(self._index.member(name))

    def read(self, name: str, limit: int) -> bytes:
        return self._index.read(name, limit)


class OciLayoutSource:
    """One image of a layout."""

    def __init__(
        self,
        reference: LocalReference,
        *,
        digest: Digest | None = None,
        platform: Platform | None = None,
    ) -> None:
        """Look at the layout; with `digest` that manifest is meant, whatever bears the name now.

        Raises:
            ImageError, PermissionRefused: there is no layout, or it can't be read.
        """
        self._reference = reference
        self._digest = digest
        self._platform = platform or host_platform()
        is_folder = reference.form == OCI_FOLDER
        self._path, self._name = split_name(reference.location, is_folder=is_folder)
        self._files: Files = _Folder(self._path) if is_folder else _Archive(self._path)
        self._check_mark()

    def resolve(self) -> Resolved:
        """Return the manifest for this machine's platform.

        Raises:
            ImageError, PermissionRefused: there is none, or it can't be read.
        """
        if self._digest is not None:
            body, media_type = self._pinned(self._digest)
        else:
            body, media_type = self._named()
        form = self._reference.form.removesuffix(":")
        return Resolved(body, media_type, form, self._path, str(self._reference))

    def open_blob(self, descriptor: Descriptor) -> ByteStream:
        """Begin to read a blob.

        Raises:
            ImageError, PermissionRefused: it isn't there, or can't be read.
        """
        return self._files.open(_blob(descriptor.digest))

    def read_windows(
        self, descriptor: Descriptor, windows: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Read pieces (offset, length) of a blob; raises as `open_blob` does."""
        return self._files.open(_blob(descriptor.digest)).windows(windows)

    def _check_mark(self) -> None:
        try:
            self._files.read(_MARK, 2**16)
        except ImageNotFound as error:
            if not os.path.exists(self._path):
                raise
            raise ManifestInvalid(
                f"{shorten(self._path, 160)} is no OCI layout: it has no file '{_MARK}'",
                hint="a folder with a root file system is written dir:PATH"
                if os.path.isdir(self._path)
                else "what 'docker save' writes is docker-archive:FILE",
            ) from error

    def _named(self) -> tuple[bytes, str]:
        entry = self._choose(parse_layout(self._files.read(_INDEX, MAXIMUM_BYTES)))
        wanted = entry.descriptor
        for _ in range(_MAXIMUM_NESTING):
            body = self._manifest(wanted.digest)
            parsed = parse_manifest(body, wanted.media_type)
            if not isinstance(parsed, Index):
                return body, wanted.media_type
            wanted = choose_platform(parsed, self._platform)
        raise ManifestInvalid("an index stands where an index promised a manifest")

    def _choose(self, entries: tuple[LayoutEntry, ...]) -> LayoutEntry:
        found = [entry for entry in entries if not self._name or entry.name == self._name]
        if len(found) > 1:
            # One name for several platforms, or one image that several names lead to.
            fitting = [entry for entry in found if entry.platform == self._platform]
            found = fitting or found
            found = list({entry.descriptor.digest: entry for entry in found}.values())
        if len(found) == 1:
            return found[0]
        names = sorted({entry.name for entry in entries if entry.name})
        listed = shorten(", ".join(names), 300) or "none with a name"
        wanted = f"no image '{shorten(self._name, 80)}'" if self._name else f"{len(entries)} images"
        error = ImageNotFound if self._name or not entries else ReferenceInvalid
        raise error(
            f"{shorten(self._path, 160)} holds {wanted}",
            hint=f"{self._reference.form}PATH:REF names one; it has {listed}",
        )

    def _pinned(self, digest: Digest) -> tuple[bytes, str]:
        try:
            body = self._manifest(digest)
        except ImageNotFound as error:
            raise DigestMismatch(
                f"{shorten(self._path, 160)} no longer holds {digest}", hint="submit the job again"
            ) from error
        # An OCI manifest need not say what it is.
        own = DOCKER_MANIFEST if DOCKER_MANIFEST.encode() in body else OCI_MANIFEST
        return body, own

    def _manifest(self, digest: Digest) -> bytes:
        body = self._files.read(_blob(digest), MAXIMUM_BYTES)
        if Digest.of(body) != digest:
            raise DigestMismatch(
                f"the manifest {digest} in {shorten(self._path, 160)} has the digest "
                f"{Digest.of(body)}",
                hint="the layout is damaged: write it again",
            )
        return body


def split_name(location: str, *, is_folder: bool) -> tuple[str, str]:
    """Return the path and the REF of PATH[:REF].

    Both may hold colons: what is there decides, the longest path first; if nothing is, the first
    colon does.

    Raises:
        ReferenceInvalid: nothing follows the colon.
    """
    there = os.path.isdir if is_folder else os.path.isfile
    path, name = location, ""
    while path and not there(path):
        path, colon, rest = path.rpartition(":")
        name = rest + (f":{name}" if name else "") if colon else name
    if not path:
        path, _, name = location.partition(":")
    if not name and location != path:
        raise ReferenceInvalid(
            f"image reference '{shorten(location, 120)}': no name follows the colon",
            hint=f"'{shorten(path, 120)}' may be meant",
        )
    return path, name


def _blob(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"

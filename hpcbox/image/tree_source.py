"""A tree of files as an image of one layer: what a folder or a file system image becomes.

The tree is read twice, once for the layer's digest and once for whoever takes the layer, so that
nothing of it has to be kept; a tree that changes in between is found out by its digest.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

from hpcbox.errors import DigestMismatch, ImageTooLarge, ManifestInvalid, shorten
from hpcbox.image import layer_tar, local_file, made_manifest, media_types
from hpcbox.image.digest import Digest
from hpcbox.image.layer_tar import Entry, Tree, Walk
from hpcbox.image.manifest import Descriptor, Manifest, parse_manifest
from hpcbox.image.progress import size_text
from hpcbox.image.reference import FILE, LocalReference
from hpcbox.image.retrying import Notice, silent
from hpcbox.image.source import Bytes, ByteStream, Resolved

_ENVIRONMENT = b"etc/environment"
_NOTICE_SECONDS = 5.0
_MAXIMUM_ENVIRONMENT_BYTES = 2**16


class Known(Protocol):
    """Remembers what a tree became, so that it need not be read for its digest again."""

    def recall(self) -> tuple[bytes, bytes] | None:
        """Return manifest and config, or None."""

    def remember(self, manifest: bytes, config: bytes) -> None:
        """Keep them."""

    def forget(self) -> None:
        """Drop them: they were wrong."""


class TreeSource:
    """The image of a tree."""

    def __init__(
        self,
        reference: LocalReference,
        tree: Tree,
        limits: tuple[int, int],
        known: Known | None = None,
        *,
        notice: Notice = silent,
    ) -> None:
        """Take a tree; `limits` are the most bytes and entries that it may have.

        `notice` is told now and then how much of it has been read.
        """
        self._notice = notice
        self._reference = reference
        self._known = known
        self._tree = tree
        self._limits = limits
        self._layer: Digest | None = None
        self._config = b""

    def resolve(self) -> Resolved:
        """Return the manifest made for the tree, which is read for it unless it is known.

        Raises:
            HpcboxError: it can't be read, or is too large.
        """
        body = self._recalled() or self._read()
        form = "file" if self._reference.form == FILE else self._reference.form.removesuffix(":")
        path, text = self._reference.location, str(self._reference)
        return Resolved(body, media_types.OCI_MANIFEST, form, path, text)

    def _recalled(self) -> bytes | None:
        known = self._known.recall() if self._known else None
        if known is None:
            return None
        body, config = known
        try:
            manifest = parse_manifest(body, media_types.OCI_MANIFEST)
        except ManifestInvalid:
            return None
        if not isinstance(manifest, Manifest) or len(manifest.layers) != 1:
            return None
        self._config, self._layer = config, manifest.layers[0].digest
        return body

    def _read(self) -> bytes:
        digest, size, told = hashlib.sha256(), 0, time.monotonic()
        with closing(_Noting(self._tree.walk(), self._limits)) as walk:
            for piece in layer_tar.pieces(walk):
                size += len(piece)
                digest.update(piece)
                if time.monotonic() - told > _NOTICE_SECONDS:
                    told = time.monotonic()
                    self._notice(f"reading for its digest, {size_text(size)} so far")
        self._layer = Digest(digest.hexdigest())
        self._config = made_manifest.config_body(self._layer, walk.environment())
        body = made_manifest.manifest_body(self._config, [(self._layer, size)])
        if self._known:
            self._known.remember(body, self._config)
        return body

    def open_blob(self, descriptor: Descriptor) -> ByteStream:
        """Begin to read the config, or the tree once more.

        Raises:
            HpcboxError: it can't be read.
        """
        if descriptor.digest == Digest.of(self._config):
            return Bytes(self._config)
        self._check(descriptor)
        return _TarStream(self._tree.walk(), descriptor.digest, self._changed)

    def read_windows(
        self, descriptor: Descriptor, windows: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Read pieces (offset, length) of the layer; raises as `open_blob` does."""
        self._check(descriptor)
        with closing(self._tree.walk()) as walk:
            return layer_tar.windows_of(walk, windows)

    def _changed(self) -> DigestMismatch:
        if self._known:
            self._known.forget()
        return local_file.changed(self._reference.location)

    def _check(self, descriptor: Descriptor) -> None:
        if descriptor.digest != self._layer:
            raise ManifestInvalid(f"{shorten(self._reference.location)} has no such layer")


class _Noting:
    """A walk that counts, and notes the variables of /etc/environment as they come by."""

    def __init__(self, walk: Walk, limits: tuple[int, int]) -> None:
        self._walk = walk
        self._maximum_bytes, self._maximum_entries = limits
        self._bytes = 0
        self._is_environment = False
        self._text = bytearray()

    def __iter__(self) -> Iterator[Entry]:
        for count, entry in enumerate(self._walk, start=1):
            if count > self._maximum_entries:
                raise ImageTooLarge(
                    f"the image has more than {self._maximum_entries} files",
                    hint="the setting max_entries allows more",
                )
            size = entry.size_bytes
            self._bytes += size
            if self._bytes > self._maximum_bytes:
                raise ImageTooLarge(
                    f"the image is larger than {size_text(self._maximum_bytes)} uncompressed",
                    hint="the setting max_image_bytes allows more",
                )
            is_small = 0 < size <= _MAXIMUM_ENVIRONMENT_BYTES
            self._is_environment = entry.name == _ENVIRONMENT and is_small
            yield entry

    def content(self) -> Iterator[bytes]:
        for piece in self._walk.content():
            if self._is_environment:
                self._text += piece
            yield piece

    def close(self) -> None:
        self._walk.close()

    def environment(self) -> list[str]:
        """Return what stands there as NAME=VALUE (pam_env(8)); comments and the rest are left out.

        enroot keeps an image's variables there.
        """
        found = {}
        for line in self._text.decode("utf-8", "replace").splitlines():
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and name.isascii() and name.isidentifier() and value.isprintable():
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
                found[name] = value[1:-1] if quoted else value
        return [f"{name}={value}" for name, value in found.items()]


class _TarStream:
    """The tar of a tree, which must be the one that was promised."""

    def __init__(self, walk: Walk, promised: Digest, changed: Callable[[], DigestMismatch]) -> None:
        self._walk = walk
        self._promised = promised
        self._changed = changed
        self._pieces = layer_tar.pieces(walk)
        self._hash = hashlib.sha256()
        self._waiting = b""

    def read(self, size: int) -> bytes:
        collected = [self._waiting]
        count = len(self._waiting)
        while count < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._hash.update(piece)
            collected.append(piece)
            count += len(piece)
        joined = b"".join(collected)
        if not joined and Digest(self._hash.hexdigest()) != self._promised:
            raise self._changed()
        self._waiting = joined[size:]
        return joined[:size]

    def close(self) -> None:
        self._walk.close()

    def abort(self) -> None:
        # Its reads are short: whoever waits in one looks at the cancellation soon.
        return

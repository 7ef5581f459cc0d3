"""The one place that knows which source an image reference leads to.

Whoever makes a source reads with the account it runs as: on a node the job's user, for whom a
relay carries the bytes to the store's writer. It stands here because a user's erofs file is read by
what reads the store's own.
"""

import os

from hpcbox.errors import DigestMismatch, RequestError, shorten
from hpcbox.image import reference as grammar
from hpcbox.image.digest import Digest
from hpcbox.image.reference import LocalReference, Reference
from hpcbox.image.retrying import Notice, silent
from hpcbox.image.source import ImageSource, Resolved
from hpcbox.settings import Settings


def source_of(
    reference: Reference | LocalReference,
    settings: Settings,
    digest: Digest | None = None,
    *,
    notice: Notice = silent,
    limit_seconds: float | None = None,
) -> ImageSource:
    """Return where an image comes from; with `digest` that image and no other.

    `notice` is told in one line why a pull waits; after `limit_seconds` no registry is asked again.

    Raises:
        HpcboxError: the reference leads to nothing that can be read.
    """
    # Each kind is loaded when it is wanted: a registry's takes longer than all the others.
    if isinstance(reference, Reference):
        from hpcbox.image.registry import RegistrySource  # noqa: PLC0415

        pinned = _pinned(reference, digest)
        return RegistrySource(pinned, settings, notice=notice, limit_seconds=limit_seconds)
    if reference.form in (grammar.DOCKER_ENGINE, grammar.PODMAN_ENGINE):
        engine = "docker" if reference.form == grammar.DOCKER_ENGINE else "podman"
        name = shorten(reference.location, 80)
        raise RequestError(
            f"image '{shorten(str(reference), 120)}' of a local engine is not supported yet",
            hint=f"'{engine} save -o image.tar {name}', then docker-archive:image.tar",
        )
    if reference.form in (grammar.OCI_FOLDER, grammar.OCI_ARCHIVE):
        from hpcbox.image.oci_layout import OciLayoutSource  # noqa: PLC0415

        return OciLayoutSource(reference, digest=digest)
    source = _made(reference, settings, notice)
    return source if digest is None else _Pinned(source, digest)


def _made(reference: LocalReference, settings: Settings, notice: Notice) -> ImageSource:
    """Return a source whose manifest is made by hpcbox."""
    if reference.form == grammar.DOCKER_ARCHIVE:
        from hpcbox.image.docker_archive import DockerArchiveSource  # noqa: PLC0415

        return DockerArchiveSource(reference)
    from hpcbox.image.folder_tree import FolderTree  # noqa: PLC0415
    from hpcbox.image.squashfs_tree import SquashfsTree  # noqa: PLC0415
    from hpcbox.image.tree_source import TreeSource  # noqa: PLC0415
    from hpcbox.rootfs.erofs_tree import ErofsTree  # noqa: PLC0415
    from hpcbox.rootfs.known_files import KnownFile  # noqa: PLC0415

    path = reference.location
    limits = (settings.max_image_bytes, settings.max_entries)
    if reference.form == grammar.FOLDER:
        return TreeSource(reference, FolderTree(path), limits, notice=notice)
    is_erofs = path.lower().endswith(".erofs")
    tree = ErofsTree(path) if is_erofs else SquashfsTree(path, settings.max_entries)
    return TreeSource(reference, tree, limits, KnownFile(path, os.environ), notice=notice)


def _pinned(reference: Reference, digest: Digest | None) -> Reference:
    if digest is None or reference.digest == digest:
        return reference
    if reference.digest is not None:
        raise DigestMismatch(f"image {reference} can't have the digest {digest}")
    return Reference(reference.registry, reference.repository, reference.tag, digest)


class _Pinned:
    """A source whose image must have a digest."""

    def __init__(self, source: ImageSource, digest: Digest) -> None:
        self._source = source
        self._digest = digest
        self.open_blob = source.open_blob
        self.read_windows = source.read_windows

    def resolve(self) -> Resolved:
        """Return the manifest.

        Raises:
            DigestMismatch: it isn't the one.
        """
        resolved = self._source.resolve()
        if Digest.of(resolved.body) != self._digest:
            raise DigestMismatch(
                f"image {shorten(resolved.reference)} is no longer {self._digest}",
                hint="it has changed since it was named: name it again",
            )
        return resolved

"""What `hpcbox srun` can know of a program's MPI before it runs."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from hpcbox.errors import HpcboxError
from hpcbox.image.local_path import parse_typed
from hpcbox.image.reference import FILE, FOLDER, LocalReference
from hpcbox.ranks.asked_container import AskedContainer
from hpcbox.ranks.process_manager import program_family
from hpcbox.rootfs import elf, known_mpi, mpi
from hpcbox.rootfs.mpi import MpiSupport
from hpcbox.settings import Settings
from hpcbox.store import records
from hpcbox.store.images import ImageRecord


@dataclass(frozen=True, slots=True)
class ProgramMpi:
    """What is known.

    Attributes:
        supports: the MPIs of the image; None when it isn't known here, () for ranks on the host.
        needs: the libraries that the program itself needs, () when unknown.
        family: of the program, "" when unknown.
        support: the one of `supports` that is the program's, None when unknown.
    """

    supports: tuple[MpiSupport, ...] | None
    needs: tuple[str, ...]
    family: str
    support: MpiSupport | None


def of_program(
    command: tuple[str, ...],
    container: AskedContainer,
    settings: Settings,
    environ: Mapping[str, str],
) -> ProgramMpi:
    """Return what is known of a program's MPI: from this user's store, the cache, or the host."""
    needs: tuple[str, ...] = ()
    supports: tuple[MpiSupport, ...] | None = ()
    if not container.image:
        needs = _needs_on_host(command[0], environ)
    else:
        record = _stored(container.image, settings)
        if record is None:
            supports = _remembered(container, settings, environ)
        else:
            # An image that is being removed is as good as one that isn't there.
            with suppress(HpcboxError), known_mpi.opened_root(settings.store, record) as root:
                path = dict(one.partition("=")[::2] for one in record.env).get("PATH", "")
                supports = mpi.probe(root, record.env)
                needs = mpi.program_needs(root, command[0], path or mpi.DEFAULT_PATH)
    family = program_family(needs) or ""
    if not family and supports and len(supports) == 1:
        family = supports[0].family
    support = next((one for one in supports or () if one.family == family), None)
    return ProgramMpi(supports, needs, family, support)


def _needs_on_host(program: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None:
        return ()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        return elf.needed(descriptor)
    finally:
        os.close(descriptor)


def _stored(image: str, settings: Settings) -> ImageRecord | None:
    try:
        return records.find(settings.store, image, settings.default_registry)
    except HpcboxError:
        return None


def _remembered(
    container: AskedContainer, settings: Settings, environ: Mapping[str, str]
) -> tuple[MpiSupport, ...] | None:
    """Ask the cache; the registry is asked for the digest only when there is a cache at all."""
    if not known_mpi.has_any(environ):
        return None
    digest = container.digest
    if not digest:
        from hpcbox.image.digest import Digest  # noqa: PLC0415 - with it comes all of urllib3
        from hpcbox.rootfs.sources import source_of  # noqa: PLC0415

        try:
            reference = parse_typed(container.image, settings.default_registry)
            if isinstance(reference, LocalReference) and reference.form in (FOLDER, FILE):
                # All of it would have to be read.
                return None
            digest = str(Digest.of(source_of(reference, settings).resolve().body))
        except HpcboxError:
            return None
    return known_mpi.recall(digest, environ)

"""What is known of an image's MPI before anything of it runs: from its layers, or remembered.

What was found is kept in ~/.cache/hpcbox/mpi/HEX.json by the digest of the image's manifest, which
stands for its content: a login node then knows images that only other nodes have pulled. A cache
that can't be read or written is no error.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from hpcbox.errors import StoreError
from hpcbox.rootfs import mpi, stack
from hpcbox.rootfs.mpi_library import MPICH, OPEN_MPI, PMI1, PMI2, PMIX
from hpcbox.rootfs.root_files import StackedRoot
from hpcbox.store import images, layers, paths

_VERSION = 1
_MAXIMUM_BYTES = 2**20


def of_record(store: str, record: images.ImageRecord) -> tuple[mpi.MpiSupport, ...]:
    """Return the MPIs of an image in the store.

    Raises:
        StoreError: a layer can't be opened.
    """
    with opened_root(store, record) as root:
        return mpi.probe(root, record.env)


@contextmanager
def opened_root(store: str, record: images.ImageRecord) -> Iterator[StackedRoot]:
    """Give the files of an image in the store.

    Raises:
        StoreError: a layer can't be opened or read.
    """
    forms = images.open_layers(store, record)
    try:
        with stack.opened(forms) as layers_seen:
            yield StackedRoot(layers_seen)
    finally:
        for form in forms:
            form.close()


def remember_record(store: str, record: images.ImageRecord, environ: Mapping[str, str]) -> None:
    """Keep what an image in the store has; one that is removed meanwhile is left out."""
    if recall(record.digest, environ) is None:
        with suppress(StoreError):
            remember(record.digest, of_record(store, record), environ)


def has_any(environ: Mapping[str, str]) -> bool:
    """Whether anything is remembered at all."""
    try:
        return bool(os.listdir(_folder(environ)))
    except OSError:
        return False


def recall(digest: str, environ: Mapping[str, str]) -> tuple[mpi.MpiSupport, ...] | None:
    """Return what was remembered of an image (`sha256:HEX`), None when nothing was."""
    try:
        with open(_file(digest, environ), "rb") as file:
            table = json.loads(file.read(_MAXIMUM_BYTES))
        if table["version"] != _VERSION:
            return None
        return tuple(_support(one) for one in table["mpi"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def remember(digest: str, found: tuple[mpi.MpiSupport, ...], environ: Mapping[str, str]) -> None:
    """Keep what was found in an image; `environ` tells where the cache is."""
    # An account without a home has no cache: services, and root in disguise.
    if not os.path.isdir(environ.get("HOME", "")):
        return
    table = {"version": _VERSION, "mpi": [one.as_json() for one in found]}
    with suppress(OSError, ValueError):
        path = _file(digest, environ)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        layers.write_whole(path, json.dumps(table).encode())


def _file(digest: str, environ: Mapping[str, str]) -> str:
    name = digest.removeprefix("sha256:")
    if not paths.is_hex(name):
        raise ValueError(name)
    return f"{_folder(environ)}/{name}.json"


def _folder(environ: Mapping[str, str]) -> str:
    cache = environ.get("XDG_CACHE_HOME") or f"{environ.get('HOME', '')}/.cache"
    return f"{cache}/hpcbox/mpi"


def _support(table: Any) -> mpi.MpiSupport:
    if table["family"] not in (MPICH, OPEN_MPI):
        raise ValueError(table["family"])
    return mpi.MpiSupport(
        family=table["family"],
        product=str(table["product"]),
        version=str(table["version"]),
        pmi=tuple(kind for kind in (PMI1, PMI2, PMIX) if kind in table["pmi"]),
        launchers={str(name): str(path) for name, path in table["launchers"].items()},
        library=str(table["library"]),
    )

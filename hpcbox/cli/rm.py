"""`hpcbox rm`: remove images from the store."""

import argparse

from hpcbox import principals
from hpcbox.errors import RequestError, StoreBusy
from hpcbox.image.progress import size_text
from hpcbox.settings import Settings
from hpcbox.store import collect, failures, paths, records, upgrade
from hpcbox.store.images import ImageRecord

HELP = "Remove images from the store, and the layers that they alone use."
EXAMPLES = """  hpcbox rm registry.site:5000/mpich:1
  hpcbox rm sha256:0123456789ab
  hpcbox rm --all"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*", help="a reference, a digest, or its beginning"
    )
    parser.add_argument("--all", action="store_true", help="every image that nothing uses")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Remove each image, in the order given.

    Raises:
        RequestError: no image was named.
        ImageNotFound: the store has no such image.
        StoreBusy: a job or a pull uses it, and it was named.
    """
    principals.become_service(settings.service_user)
    with failures.told(settings.store, "remove an image"):
        paths.prepare(settings.store)
        upgrade.upgrade(settings.store)
        for record in _chosen(arguments, settings):
            _remove(record, settings.store, skip_busy=arguments.all)
    return 0


def _remove(record: ImageRecord, store: str, *, skip_busy: bool) -> None:
    try:
        gone = collect.remove(store, collect.one(record))
    except StoreBusy as busy:
        if not skip_busy:
            raise
        print(f"kept: {busy.message}")
        return
    layers = len(set(gone.layers) & set(record.layers))
    print(
        f"removed {record.digest}, {layers} of its {len(record.layers)} layers,"
        f" {size_text(gone.freed_bytes)} freed"
    )


def _chosen(arguments: argparse.Namespace, settings: Settings) -> list[ImageRecord]:
    if arguments.all:
        return list(records.listed(settings.store))
    if not arguments.images:
        raise RequestError("no image was named", hint="give references, digests or --all")
    return [
        records.find(settings.store, image, settings.default_registry, pinned=True)
        for image in arguments.images
    ]

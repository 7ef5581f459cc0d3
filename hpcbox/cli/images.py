"""`hpcbox images`: list the images in the store."""

import argparse
import json
import os
import time
from typing import Any

from hpcbox import principals
from hpcbox.cli import table
from hpcbox.image.progress import size_text
from hpcbox.settings import Settings
from hpcbox.store import inventory, records
from hpcbox.store.inventory import Inventory, StoredImage

HELP = "List the images in the store: what they take of its disk, when and by whom they are used."
EXAMPLES = """  hpcbox images
  hpcbox images --json

--json prints a list with an object for each image: what 'hpcbox pull --json' prints, and
  stored_bytes   bytes on disk of its layers, those included that other images share
  unique_bytes   bytes that removing it would free now
  last_used_at   when it was last pulled or a container of it began, in seconds since 1970
  in_use         who uses it now, as "job 17.0", "hpcbox run 4711" or "pull 4712\""""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print one line a reference and a sum, or all records as JSON.

    Raises:
        StoreError: the store can't be read.
    """
    principals.become_service(settings.service_user)
    found = inventory.read(settings.store)
    if arguments.json:
        print(json.dumps([_as_json(found, image) for image in found.images], indent=1))
        return 0
    heading = ("IMAGE", "DIGEST", "SIZE", "DISK", "LAYERS", "PULLED", "USED", "BY")
    rows = [row for image in found.images for row in _rows(found, image)]
    for line in table.lines([heading, *sorted(rows)]):
        print(line)
    if found.images:
        print(_sum(found, settings.store))
    return 0


def _as_json(found: Inventory, image: StoredImage) -> dict[str, Any]:
    return {
        **records.as_json(image.record),
        "stored_bytes": found.bytes_of(image.record.layers),
        "unique_bytes": found.bytes_of(set(found.freed_by([image])) & set(image.record.layers)),
        "last_used_at": image.last_used_at,
        "in_use": list(image.holders),
    }


def _rows(found: Inventory, image: StoredImage) -> list[tuple[str, ...]]:
    record = image.record
    common = (
        record.digest[:19],
        size_text(record.size_bytes),
        size_text(found.bytes_of(record.layers)),
        str(len(record.layers)),
        _moment(record.pulled_at),
        "now" if image.holders else _ago(time.time() - image.last_used_at),
        ", ".join(image.holders),
    )
    # As nodes of a job pull it: with the digest, which has a column of its own here.
    names = {name.removesuffix(f"@{record.digest}") for name in record.references}
    return [(name, *common) for name in sorted(names) or ["-"]]


def _sum(found: Inventory, store: str) -> str:
    used = {name for image in found.images for name in image.record.layers}
    status = os.statvfs(store)
    number = f"{len(found.images)} image{'s' if len(found.images) > 1 else ''}"
    return (
        f"{number}, {size_text(found.bytes_of(used))} on disk with shared layers counted once, "
        f"{size_text(status.f_bavail * status.f_frsize)} free"
    )


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))

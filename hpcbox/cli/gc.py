"""`hpcbox gc`: free space in the store."""

import argparse
import json
import time
from typing import Any

from hpcbox import principals
from hpcbox.cli.amounts import count
from hpcbox.cli.table import clock
from hpcbox.errors import one_line
from hpcbox.image.progress import size_text
from hpcbox.settings import Settings
from hpcbox.store import collect, failures, paths, space, upgrade
from hpcbox.store.inventory import StoredImage

HELP = """Remove what nobody needs from the store: leftovers of killed processes, layers of no
image, and images that nothing uses, as far as the options or the store's fill level say. What a job
or a pull uses stays."""
EXAMPLES = """  hpcbox gc --dry-run
  hpcbox gc --older-than 30
  hpcbox gc --all-unused --json

--json prints an object: dry_run, freed_bytes (in all), images (digest, references, last_used_at in
  seconds since 1970), layers (name, bytes), leftovers (path below the store, bytes), and the names
  of leases that had ended and of locks that nobody held."""

_DAY_SECONDS = 86400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--older-than", metavar="DAYS", type=count, help="images that nothing used for so long"
    )
    which.add_argument("--all-unused", action="store_true", help="all images that nothing uses")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Remove, and print what and how many bytes.

    Without options images go only when the store is fuller than store_high_percent.

    Raises:
        StoreError: the store can't be read or written.
        StoreBusy: others use it for too long.
    """
    principals.become_service(settings.service_user)
    store, dry_run = settings.store, bool(arguments.dry_run)
    with failures.told(store, "free space"):
        paths.prepare(store)
        if not dry_run:
            upgrade.upgrade(store)
        gone = collect.collect(store, _choice(arguments, settings), dry_run=dry_run)
    if arguments.json:
        print(json.dumps({"dry_run": dry_run, **_table(gone)}, indent=1))
    else:
        _print(gone, "would remove" if dry_run else "removed")
    return 0


def _choice(arguments: argparse.Namespace, settings: Settings) -> collect.Choose:
    if arguments.all_unused:
        return collect.all_unused
    if arguments.older_than is not None:
        return collect.unused_since(time.time() - arguments.older_than * _DAY_SECONDS)
    marks = space.Marks(
        settings.store_max_bytes, settings.store_high_percent, settings.store_low_percent
    )
    too_much = space.excess(settings.store, 0, marks)
    return collect.to_free(too_much) if too_much else collect.nothing


def _table(gone: collect.Collected) -> dict[str, Any]:
    return {
        "freed_bytes": gone.freed_bytes,
        "images": [
            {
                "digest": image.record.digest,
                "references": image.record.references,
                "last_used_at": image.last_used_at,
            }
            for image in gone.images
        ],
        "layers": [{"name": name, "bytes": size} for name, size in sorted(gone.layers.items())],
        "leftovers": [{"path": path, "bytes": size} for path, size in gone.leftovers.items()],
        "leases": list(gone.leases),
        "locks": list(gone.locks),
    }


def _print(gone: collect.Collected, removed: str) -> None:
    for image in gone.images:
        print(f"{removed} {_name(image)}, unused for {_age(image)}")
    for what, number, size in (
        ("layer", len(gone.layers), sum(gone.layers.values())),
        ("leftover", len(gone.leftovers), sum(gone.leftovers.values())),
    ):
        if number:
            print(f"{removed} {number} {what}{'s' if number > 1 else ''}, {size_text(size)}")
    tense = "would be freed" if removed.startswith("would") else "freed"
    print(f"{size_text(gone.freed_bytes)} {tense}")


def _name(image: StoredImage) -> str:
    return one_line(" ".join([*sorted(image.record.references), image.record.digest[:19]]))


def _age(image: StoredImage) -> str:
    return clock(max(time.time() - image.last_used_at, 0))

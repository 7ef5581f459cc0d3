"""`hpcbox images`: list the images in the store."""

import argparse
import json
import time

from hpcbox import principals
from hpcbox.image.progress import size_text
from hpcbox.settings import Settings
from hpcbox.store import records

HELP = "List the images in the store."
EXAMPLES = """  hpcbox images
  hpcbox images --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print one line a reference, or all records as JSON.

    Raises:
        StoreError: the store can't be read.
    """
    principals.become_service(settings.service_user)
    found = list(records.listed(settings.store))
    if arguments.json:
        print(json.dumps([records.as_json(record) for record in found], indent=1))
        return 0
    rows = [
        (
            reference,
            record.digest[:19],
            size_text(record.size_bytes),
            str(len(record.layers)),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(record.pulled_at)),
        )
        for record in found
        for reference in (sorted(record.references) or ["-"])
    ]
    table = [("IMAGE", "DIGEST", "SIZE", "LAYERS", "PULLED"), *sorted(rows)]
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0

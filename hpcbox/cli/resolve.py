"""`hpcbox resolve`: the digest that a reference stands for now.

The Slurm plugin runs this as the user when a job is submitted (`--wire`): all nodes then use the
same image, whatever happens to its tag. Exit code 69 says that the registry could not be reached;
the plugin then lets the nodes resolve. For what lies on this machine a line `reference TEXT` comes
first, at once, with the path as other machines need it: to read a large folder takes longer than
the plugin waits.
"""

import argparse
import json

from hpcbox.cli.fetching import IMAGE_HELP
from hpcbox.image.digest import Digest
from hpcbox.image.local_path import parse_typed
from hpcbox.image.reference import LocalReference
from hpcbox.image.sources import source_of
from hpcbox.settings import Settings

HELP = "Print the digest a reference stands for now, on this machine's platform."
EXAMPLES = """  hpcbox resolve registry.site:5000/mpich:1
  hpcbox resolve --json debian:12
  hpcbox resolve oci:images/mpich:1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("image", metavar="IMAGE", help=IMAGE_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--wire", action="store_true", help="the digest alone, for the plugin")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Ask the registry and print.

    Raises:
        ImageError: the registry doesn't have the image or can't be asked.
    """
    reference = parse_typed(arguments.image, settings.default_registry)
    source = source_of(reference, settings)
    if isinstance(reference, LocalReference) and arguments.wire:
        print(f"reference {reference}", flush=True)
    resolved = source.resolve()
    digest = Digest.of(resolved.body)
    pinned = str(digest)
    if not isinstance(reference, LocalReference):
        pinned = f"{reference.registry}/{reference.repository}@{digest}"
    if arguments.json:
        table = {"reference": str(reference), "digest": str(digest), "pinned": pinned}
        print(json.dumps({**table, "media_type": resolved.media_type}))
    else:
        print(digest if arguments.wire else pinned)
    return 0

"""`hpcbox pull`: fetch an image into the store."""

import argparse
import json
import os

from hpcbox import principals
from hpcbox.cli import fetching, limits
from hpcbox.cli.fetching import IMAGE_HELP
from hpcbox.image.digest import Digest
from hpcbox.image.local_path import parse_typed, path_in_mind
from hpcbox.rootfs import known_mpi, sinks
from hpcbox.settings import Settings
from hpcbox.store import records

HELP = "Fetch an image into the store; an image that is there is only checked for being current."
EXAMPLES = """  hpcbox pull debian:12
  hpcbox pull registry.site:5000/mpich:1
  hpcbox pull oci-archive:image.tar
  hpcbox pull ./image.sqsh
  hpcbox pull --json ghcr.io/owner/name@sha256:…

--json prints the image's record on stdout and events on stderr, one object a line, at least one a
second:
  phase                     resolving, clearing (makes room), pulling, waiting (another pull fetches
                            it), checking (access), unpacking, syncing, settling, ready
  image, note               what is pulled; why its registry lets it wait, or ""
  bytes_done, bytes_total   came from the source, and are to come in all
  rate_bytes, seconds_left  a second, lately; at that rate, or null
  idle_seconds, seconds     since something came; since the pull began
  layers_done, layers       are in the store, and in all
  others_done, others_total bytes of layers that another pull fetches for this one
  stored_bytes              what the image takes of the disk, when it is ready"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("image", metavar="IMAGE", help=IMAGE_HELP)
    parser.add_argument("--digest", metavar="DIGEST", help="refuse any other image")
    limits.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="events and result as lines of JSON")
    parser.add_argument("--quiet", action="store_true", help="print the digest and nothing else")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Pull, showing progress on stderr, and print the image's digest.

    Raises:
        HpcboxError: the image can't be had, or the store can't take it.
    """
    settings = limits.applied(arguments, settings)
    reference = parse_typed(arguments.image, settings.default_registry)
    digest = Digest.parse(arguments.digest) if arguments.digest else None
    sink = sinks.own_sink(settings)
    principals.become_service(settings.service_user)
    shown = fetching.reporter(json_lines=arguments.json, quiet=arguments.quiet)
    with shown as report, path_in_mind(arguments.image):
        record = fetching.pulled(reference, settings, report, digest, sink)
    print(json.dumps(records.as_json(record)) if arguments.json else record.digest)
    # For `hpcbox srun` on nodes that share the user's home but not this store.
    known_mpi.remember_record(settings.store, record, os.environ)
    return 0

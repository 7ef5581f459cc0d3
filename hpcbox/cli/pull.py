"""`hpcbox pull`: fetch an image into the store."""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType

from hpcbox import principals
from hpcbox.errors import shorten
from hpcbox.image.progress import PhaseLines, Progress, Report
from hpcbox.image.reference import parse_fetchable
from hpcbox.image.registry import RegistrySource
from hpcbox.rootfs import known_mpi
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.settings import Settings
from hpcbox.store import records
from hpcbox.store.pull import Limits, pull

HELP = "Fetch an image into the store; an image that is there is only checked for being current."
EXAMPLES = """  hpcbox pull debian:12
  hpcbox pull registry.site:5000/mpich:1
  hpcbox pull --json ghcr.io/owner/name@sha256:…"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("image", metavar="IMAGE", help="[REGISTRY/]NAME[:TAG][@DIGEST]")
    parser.add_argument("--json", action="store_true", help="events and result as lines of JSON")
    parser.add_argument("--quiet", action="store_true", help="print the digest and nothing else")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Pull, showing progress on stderr, and print the image's digest.

    Raises:
        HpcboxError: the image can't be had, or the store can't take it.
    """
    reference = parse_fetchable(arguments.image, settings.default_registry)
    principals.become_service(settings.service_user)
    # As an exception the signal unwinds the pull: what is half made is removed.
    signal.signal(signal.SIGTERM, _end)
    limits = Limits(settings.max_image_bytes, settings.max_entries, settings.pull_threads)
    source = RegistrySource(reference, settings)
    with _reporter(json_lines=arguments.json, quiet=arguments.quiet) as report:
        record = pull(source, settings.store, DirectorySink(), limits, report)
    print(json.dumps(records.as_json(record)) if arguments.json else record.digest)
    # For `hpcbox srun` on nodes that share the user's home but not this store.
    known_mpi.remember_record(settings.store, record, os.environ)
    return 0


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextmanager
def _reporter(*, json_lines: bool, quiet: bool) -> Iterator[Report]:
    if quiet:
        yield lambda _progress: None
    elif json_lines:
        yield lambda progress: print(json.dumps(asdict(progress)), file=sys.stderr, flush=True)
    elif sys.stderr.isatty():
        try:
            yield _on_terminal
        finally:
            # What follows, an error too, begins on a line of its own.
            print(file=sys.stderr)
    else:
        yield PhaseLines(lambda line: print(line, file=sys.stderr, flush=True))


def _on_terminal(progress: Progress) -> None:
    # A line that wraps could not be taken back.
    width = shutil.get_terminal_size().columns - 1
    line = shorten(progress.line(), max(width, 20))
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

"""`hpcbox pull`: fetch an image into the store."""

import argparse
import json
import signal
import sys
from dataclasses import asdict
from types import FrameType

from hpcbox import principals
from hpcbox.image.progress import PhaseLines, Progress, Report
from hpcbox.image.reference import parse_fetchable
from hpcbox.image.registry import RegistrySource
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
    report = _reporter(json_lines=arguments.json, quiet=arguments.quiet)
    source = RegistrySource(reference, settings)
    record = pull(source, settings.store, DirectorySink(), limits, report)
    print(json.dumps(records.as_json(record)) if arguments.json else record.digest)
    return 0


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _reporter(*, json_lines: bool, quiet: bool) -> Report:
    if quiet:
        return lambda _progress: None
    if json_lines:
        return lambda progress: print(json.dumps(asdict(progress)), file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        return _on_terminal
    return PhaseLines(lambda line: print(line, file=sys.stderr, flush=True))


def _on_terminal(progress: Progress) -> None:
    end = "\n" if progress.phase == "ready" else ""
    print(f"\r\x1b[K{progress.line()}", end=end, file=sys.stderr, flush=True)

"""`hpcbox resolve`: the digest that a reference stands for now.

The Slurm plugin runs this as the user when a job is submitted (`--wire`): all nodes then use the
same image, whatever happens to its tag. Exit code 69 says that the registry could not be reached;
the plugin then lets the nodes resolve. For what lies on this machine a line `reference TEXT` comes
first, at once, with the path as other machines need it: to read a large folder takes longer than
the plugin waits.
"""

import argparse
import json
import queue
import threading
from dataclasses import replace

from hpcbox.cli.fetching import IMAGE_HELP
from hpcbox.errors import RegistryUnreachable
from hpcbox.image.digest import Digest
from hpcbox.image.local_path import parse_typed, path_in_mind
from hpcbox.image.reference import LocalReference, Reference
from hpcbox.image.source import Resolved
from hpcbox.rootfs.sources import source_of
from hpcbox.settings import Settings

HELP = "Print the digest a reference stands for now, on this machine's platform."
EXAMPLES = """  hpcbox resolve registry.site:5000/mpich:1
  hpcbox resolve --json debian:12
  hpcbox resolve oci:images/mpich:1"""

# The plugin waits for 5 s, start and end of this process included.
_LIMIT_SECONDS = 4.5


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
    if isinstance(reference, LocalReference):
        source = source_of(reference, settings)
        if arguments.wire:
            print(f"reference {reference}", flush=True)
        resolved = source.resolve()
    else:
        with path_in_mind(arguments.image):
            resolved = _within_limit(reference, settings)
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


def _within_limit(reference: Reference, settings: Settings) -> Resolved:
    """Ask, and give up in time whatever the registry, its mirrors or the resolver do.

    A thread of its own: a name that is looked up can be interrupted by nothing else.
    """
    hasty = replace(
        settings,
        # A mirror that is gone must leave time for the registry.
        timeout_seconds=min(settings.timeout_seconds, _LIMIT_SECONDS / 2 - 0.25),
        stall_seconds=min(settings.stall_seconds, _LIMIT_SECONDS - 0.5),
    )
    answers: queue.SimpleQueue[Resolved | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(source_of(reference, hasty, limit_seconds=_LIMIT_SECONDS - 1).resolve())
        except Exception as error:  # noqa: BLE001 - raised again below
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=_LIMIT_SECONDS)
    except queue.Empty:
        raise RegistryUnreachable(
            f"registry {reference.registry} gave no answer within {_LIMIT_SECONDS:g} seconds",
            hint="try again later",
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer

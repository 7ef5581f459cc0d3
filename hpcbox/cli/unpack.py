"""`hpcbox unpack`: an image as a plain folder."""

import argparse
import json

from hpcbox.cli import fetching, limits
from hpcbox.image.local_path import parse_typed
from hpcbox.rootfs.extract import Extracted
from hpcbox.settings import Settings

HELP = """Unpack an image into a plain folder, which must be empty or not exist. Everything in it
belongs to you. Left out are devices, file capabilities and other attributes than user.*; setuid and
setgid bits of files are dropped."""
EXAMPLES = """  hpcbox unpack registry.site:5000/mpich:1 ./root
  hpcbox unpack --max-bytes 20G --max-entries 500000 debian:12 /scratch/me/debian
  hpcbox unpack --json debian:12 ./root"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("image", metavar="IMAGE", help=fetching.IMAGE_HELP)
    parser.add_argument("folder", metavar="DIR", help="the folder that becomes the image's root")
    limits.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="events and result as lines of JSON")
    parser.add_argument("--quiet", action="store_true", help="print the digest and nothing else")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Unpack, showing progress on stderr, and print the image's digest.

    Raises:
        HpcboxError: the image can't be had, or the folder can't be made.
    """
    reference = parse_typed(arguments.image, settings.default_registry)
    settings = limits.applied(arguments, settings)
    with fetching.reporter(json_lines=arguments.json, quiet=arguments.quiet) as report:
        extracted = fetching.extracted(reference, settings, arguments.folder, report)
    print(json.dumps(_as_json(extracted)) if arguments.json else extracted.image.digest)
    return 0


def _as_json(extracted: Extracted) -> dict[str, object]:
    config = extracted.image.config
    return {
        "reference": extracted.reference,
        "digest": str(extracted.image.digest),
        "folder": extracted.folder,
        "layers": [str(diff_id) for diff_id, _ in extracted.image.layers],
        "entries": extracted.entries,
        "size_bytes": extracted.size_bytes,
        "env": list(config.environment),
        "workdir": config.workdir,
        "entrypoint": list(config.entrypoint),
        "cmd": list(config.command),
        "user": config.user,
    }

"""The options that limit what an image may hold, for all verbs that fetch one."""

import argparse
from dataclasses import replace

from hpcbox.cli.amounts import count, size_bytes
from hpcbox.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `--max-bytes` and `--max-entries`."""
    parser.add_argument(
        "--max-bytes",
        metavar="N",
        type=size_bytes,
        help="refuse an image with more bytes (default: setting max_image_bytes); K, M, G, T",
    )
    parser.add_argument(
        "--max-entries",
        metavar="N",
        type=count,
        help="refuse an image with more files (default: setting max_entries)",
    )


def applied(arguments: argparse.Namespace, settings: Settings) -> Settings:
    """Return the settings with the limits that were given."""
    if arguments.max_bytes is not None:
        settings = replace(settings, max_image_bytes=arguments.max_bytes)
    if arguments.max_entries is not None:
        settings = replace(settings, max_entries=arguments.max_entries)
    return settings

"""`hpcbox logout`: forget a registry's name and password."""

import argparse
import os
import sys

from hpcbox.cli.registry_name import registry_of
from hpcbox.image import credential_search, credential_storing
from hpcbox.settings import Settings

HELP = "Forget a registry's name and password."
EXAMPLES = "  hpcbox logout registry.site:5000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument(
        "registry", metavar="REGISTRY", nargs="?", help="HOST[:PORT] (default: default_registry)"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Remove what `hpcbox login` has kept, and say what other programs have.

    Raises:
        RegistryRefused: a file or a helper fails.
    """
    registry = registry_of(arguments.registry, settings)
    found = credential_storing.forget(registry, os.environ)
    print(f"logged out of {registry}" if found else f"was not logged in to {registry}")
    for place in credential_search.knowing(registry, settings.netrc, os.environ):
        print(f"credentials for {registry} still stand in {place}", file=sys.stderr)
    return 0

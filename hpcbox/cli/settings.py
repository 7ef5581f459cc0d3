"""`hpcbox settings`: values, where they come from, and the site's compiled file."""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import fields

from hpcbox import settings as table
from hpcbox.errors import SettingsError

HELP = "Show every setting with its origin, or compile a site's file for its nodes."
EXAMPLES = """  hpcbox settings
  hpcbox settings --json
  hpcbox settings --compile /etc/hpcbox/hpcbox.toml --output /etc/hpcbox/settings.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--compile", metavar="TOML", help="site file to compile")
    parser.add_argument("--output", metavar="FILE", help="where to write it (default: stdout)")


def run(arguments: argparse.Namespace, settings: table.Settings) -> int:
    """Print or compile.

    Raises:
        SettingsError: the site's file is wrong or the output can't be written.
    """
    if arguments.compile is not None:
        _write(table.compile_site(arguments.compile), arguments.output)
        return 0
    values = {
        item.name: getattr(settings, item.name)
        for item in fields(settings)
        if item.name != "origins"
    }
    if arguments.json:
        json.dump(values, sys.stdout, default=vars_of, indent=1)
        print()
        return 0
    width = max(len(row.name) for row in table.TABLE)
    for row in table.TABLE:
        origin = settings.origins.get(row.name, "default")
        print(f"{row.name:<{width}} {values[row.name]!s:<30} {origin:<28} {row.description}")
    return 0


def vars_of(value: object) -> object:
    """A frozen value as a JSON object, without what is secret in it."""
    return {item.name: getattr(value, item.name) for item in fields(value) if item.repr}  # type: ignore[arg-type]


def _write(text: str, output: str | None) -> None:
    """Write the file whole or not at all: a node may read it at any moment."""
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=os.path.dirname(output) or ".", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o644)
        os.replace(file.name, output)
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error.strerror}") from error

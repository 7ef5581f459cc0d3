"""`hpcbox tui`: the screens."""

import argparse

from hpcbox.settings import Settings

HELP = "Show queues, allocations and ranks on a screen."
EXAMPLES = "  hpcbox tui"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The screens take no arguments yet."""


def run(_arguments: argparse.Namespace, _settings: Settings) -> int:
    """Run the screens until the user leaves them."""
    from hpcbox_tui.app import run as run_screens  # noqa: PLC0415 - textual loads here only

    return run_screens()

"""`hpcbox tui`: the screens."""

import argparse

from hpcbox.settings import Settings

HELP = "Show queues, allocations and ranks on a screen; ? there lists the keys."
EXAMPLES = """\
  hpcbox                 the same as hpcbox tui
  hpcbox tui --all       begin with everybody's jobs
  hpcbox --demo          a recorded cluster, without Slurm"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--all", action="store_true", help="begin with everybody's jobs")
    parser.add_argument("--demo", action="store_true", help="play a recorded cluster")


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Run the screens until the user leaves them."""
    from hpcbox_tui.run import run as run_screens  # noqa: PLC0415 - for this verb only

    return run_screens(everybody=arguments.all, demo=arguments.demo)

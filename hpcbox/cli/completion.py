"""`hpcbox completion`: a script with which a shell completes hpcbox's words at the Tab key."""

import argparse
import importlib

from hpcbox.settings import Settings

HELP = "Print a script that lets a shell complete hpcbox's verbs and options."
EXAMPLES = """  eval "$(hpcbox completion bash)"
  hpcbox completion bash >~/.local/share/bash-completion/completions/hpcbox
  hpcbox completion zsh >/usr/local/share/zsh/site-functions/_hpcbox"""
SHELLS = ("bash", "zsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that will read the script")


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Print the script."""
    import shtab  # noqa: PLC0415 - no other verb needs it

    print(shtab.complete(_command_line(), arguments.shell))
    return 0


def _command_line() -> argparse.ArgumentParser:
    """Return one parser of all verbs, which no command line has otherwise."""
    from hpcbox.cli import main  # noqa: PLC0415 - it loads this module as it does all verbs

    parser = argparse.ArgumentParser(prog="hpcbox")
    main.add_general_options(parser)
    verbs = parser.add_subparsers(dest="verb")
    for verb, text in main.VERBS.items():
        module = importlib.import_module(f"hpcbox.cli.{verb}")
        module.add_arguments(verbs.add_parser(verb, help=text))
    return parser

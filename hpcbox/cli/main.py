"""`hpcbox VERB …`: finds the verb's module, runs it, prints what failed.

The only place that turns errors into messages and exit codes. Verbs are loaded when they are
used: `hpcbox --version` imports none of them.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import hpcbox
from hpcbox.errors import HpcboxError, RequestError

# Verb → what `hpcbox --help` says of it, in the order of a user's day.
VERBS = {
    "run": "run a command in an image, on this machine",
    "srun": "start the ranks of a job in an image, by srun or over ssh",
    "pull": "fetch an image into the store",
    "images": "list the images in the store",
    "inspect": "show an image's manifest, config and MPI",
    "login": "check a registry's name and password, and keep them",
    "logout": "forget a registry's name and password",
    "rm": "remove an image from the store",
    "gc": "free space in the store",
    "unpack": "unpack an image into a plain folder",
    "resolve": "print the digest a reference stands for now",
    "ps": "list jobs, or show one job's steps and ranks",
    "logs": "show what a job's ranks have printed",
    "settings": "show the settings and where they come from",
    "tui": "queues, allocations and ranks on a screen",
    "completion": "print a script that completes hpcbox's words in a shell",
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are RequestErrors: one line like any other."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(message, hint=f"see '{self.prog} --help'")


def add_general_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options that come before a verb."""
    parser.add_argument("--version", action="version", version=f"hpcbox {hpcbox.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    parser.add_argument("--demo", action="store_true", help="a recorded cluster on the screens")


def _overview() -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {verb:<10} {text}" for verb, text in VERBS.items())
    parser = _Parser(
        prog="hpcbox",
        description="Container jobs on Slurm, seen in a terminal.",
        epilog=f"verbs:\n{verbs}\n\n'hpcbox VERB --help' shows a verb's options and examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_general_options(parser)
    parser.add_argument("verb", nargs="?", metavar="VERB", help="what to do (default: tui)")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _run(words: Sequence[str]) -> int:
    overview = _overview()
    parsed = overview.parse_args(words)
    verb = parsed.verb or "tui"
    rest = ["--demo", *parsed.rest] if parsed.demo and verb == "tui" else parsed.rest
    if parsed.verb is None and not parsed.demo and not sys.stdout.isatty():
        overview.print_help()
        return 0
    if verb not in VERBS:
        raise RequestError(f"there is no verb '{verb}'", hint="see 'hpcbox --help'")
    module = importlib.import_module(f"hpcbox.cli.{verb}")
    parser = _Parser(
        prog=f"hpcbox {verb}",
        description=module.HELP,
        epilog=f"examples:\n{module.EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    try:
        # srun's rules for options differ from argparse's.
        read = getattr(module, "read_arguments", argparse.ArgumentParser.parse_args)
        arguments = read(parser, rest)
        from hpcbox import settings  # noqa: PLC0415 - after --help, which needs none

        return int(module.run(arguments, settings.load()))
    except HpcboxError as error:
        # A verb that ends with its command's code has one code for all that isn't the command's.
        error.exit_code = getattr(module, "FAILURE_CODE", error.exit_code)
        raise


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (hpcbox/errors.py lists them)."""
    words = sys.argv[1:] if words is None else words
    try:
        code = _run(words)
        # Here, where somebody hears of it, and not when Python ends.
        sys.stdout.flush()
    except HpcboxError as error:
        if "--debug" in words:
            raise
        print(f"hpcbox: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("hpcbox: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`hpcbox images | head`): nothing is wrong, and nothing can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    else:
        return code


if __name__ == "__main__":
    sys.exit(main())

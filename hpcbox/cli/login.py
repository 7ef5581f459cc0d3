"""`hpcbox login`: check a registry's name and password, and keep them for pulls."""

import argparse
import getpass
import os
import sys

from hpcbox.cli.registry_name import registry_of
from hpcbox.errors import RequestError
from hpcbox.image import credential_storing, login_check
from hpcbox.image.credentials import Credentials
from hpcbox.settings import Settings

HELP = "Check a registry's name and password, and keep them where pulls find them."
EXAMPLES = """  hpcbox login registry.site:5000
  pass registry/alice | hpcbox login registry.site -u alice --password-stdin"""

_MAXIMUM_BYTES = 2**16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument(
        "registry", metavar="REGISTRY", nargs="?", help="HOST[:PORT] (default: default_registry)"
    )
    parser.add_argument("-u", "--username", metavar="NAME", help="asked for if it is missing")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from stdin"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Ask, check and keep.

    Raises:
        RequestError: there is nobody to ask.
        ImageError: the registry refuses, or the credentials can't be kept.
    """
    registry = registry_of(arguments.registry, settings)
    credentials = _credentials(registry, arguments)
    checked = login_check.check(registry, credentials, settings)
    where = credential_storing.keep(registry, credentials, os.environ)
    print(f"logged in to {registry} as {credentials.username}; kept in {where}")
    if not checked:
        print("the registry did not ask for the password: it is kept unchecked", file=sys.stderr)
    return 0


def _credentials(registry: str, arguments: argparse.Namespace) -> Credentials:
    if arguments.password_stdin:
        if not arguments.username:
            raise RequestError("--password-stdin needs the name", hint="add -u NAME")
        username, password = arguments.username, _piped()
    elif not sys.stdin.isatty():
        raise RequestError(
            "there is no terminal to ask for the password",
            hint="pipe it in: hpcbox login -u NAME --password-stdin",
        )
    else:
        username = arguments.username or _asked(f"name at {registry}: ")
        password = getpass.getpass(f"password of {username}: ")
    for what, text in (("name", username), ("password", password)):
        if not text or not text.isprintable():
            raise RequestError(f"the {what} is empty or holds a control character")
    if ":" in username:
        raise RequestError("the name holds a colon, which HTTP can't carry (RFC 7617)")
    return Credentials(username, password)


def _piped() -> str:
    data = sys.stdin.buffer.read(_MAXIMUM_BYTES + 1)
    if len(data) > _MAXIMUM_BYTES:
        raise RequestError(f"the password has more than {_MAXIMUM_BYTES} bytes")
    try:
        return data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        # Without the cause, which holds the bytes.
        raise RequestError("the password is not UTF-8") from None


def _asked(prompt: str) -> str:
    print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()

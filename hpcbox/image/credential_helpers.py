"""Credential helpers: programs `docker-credential-NAME` that keep secrets for a registry.

The protocol is that of docker-credential-helpers: one word (get, store, erase) as argument, the
registry or a JSON object on stdin, a JSON object or a line of error on stdout.
"""

import json

from hpcbox import processes
from hpcbox.errors import RegistryRefused, shorten
from hpcbox.image.credentials import Credentials

_TIMEOUT_SECONDS = 30.0
_MAXIMUM_BYTES = 2**20
_TOKEN_NAME = "<token>"  # noqa: S105 - the name that says: the secret is an identity token


def get(helper: str, name: str) -> Credentials | None:
    """Return what a helper knows of a registry, or None when it knows nothing.

    Raises:
        RegistryRefused: the helper fails or takes too long.
    """
    answer = _run(helper, "get", name.encode())
    if answer is None:
        return None
    try:
        table = json.loads(answer)
        username, secret = table["Username"], table["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _failed(helper, "get", "it answered with something else") from None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise _failed(helper, "get", "it answered with something else")
    if username == _TOKEN_NAME:
        return Credentials("", "", secret)
    # docker-credential-pass answers so for what it doesn't know.
    return Credentials(username, secret) if username or secret else None


def store(helper: str, name: str, credentials: Credentials) -> None:
    """Give a helper the credentials of a registry to keep; raises as `get` does."""
    secret = credentials.password
    table = {"ServerURL": name, "Username": credentials.username, "Secret": secret}
    _run(helper, "store", json.dumps(table).encode())


def erase(helper: str, name: str) -> bool:
    """Let a helper forget a registry; tell whether it knew it; raises as `get` does."""
    return _run(helper, "erase", name.encode()) is not None


def _run(helper: str, word: str, given: bytes) -> bytes | None:
    """Return its output; None when it says that it knows no such registry."""
    program = f"docker-credential-{helper}"
    try:
        ended = processes.run(
            [program, word], timeout_seconds=_TIMEOUT_SECONDS, limit_bytes=_MAXIMUM_BYTES,
            given=given,
        )  # fmt: skip
    except FileNotFoundError:
        raise _failed(helper, word, "it is not installed on this machine") from None
    except OSError as error:
        raise _failed(helper, word, str(error.strerror)) from error
    if ended.code == 0:
        return ended.output
    text = (ended.output.strip() or ended.errors.strip()).decode("utf-8", "replace")
    if "credentials not found" in text.lower():
        return None
    raise _failed(helper, word, shorten(text, 200) or f"exit code {ended.code}")


def _failed(helper: str, word: str, reason: str) -> RegistryRefused:
    return RegistryRefused(
        f"credential helper docker-credential-{helper} failed ({word}): {reason}"
    )

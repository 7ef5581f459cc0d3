"""Docker's config.json and containers-auth.json(5): which entry belongs to a registry.

Keys of `auths` are HOST[:PORT], HOST[:PORT]/NAMESPACE… (the longest that fits counts) or, as old
Docker clients wrote them, web addresses; a port belongs to the name, and a host without one is
another registry.
"""

import base64
import binascii
import json
import re
from typing import Any

from hpcbox.errors import RegistryRefused
from hpcbox.image.credentials import Credentials
from hpcbox.image.reference import DOCKER_HUB

HUB_KEY = "https://index.docker.io/v1/"

_MAXIMUM_BYTES = 2**22
_HELPER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_OLD_KEY = re.compile(r"(?:https?://)?([^/]+)(?:/(?:v[12]/?)?)?")


def read(path: str) -> dict[str, Any]:
    """Return a file's JSON object; an absent or empty file is an empty one.

    Raises:
        RegistryRefused: the file can't be read or is no JSON object.
    """
    try:
        with open(path, "rb") as file:
            body = file.read(_MAXIMUM_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise unreadable(path, str(error.strerror)) from error
    if len(body) > _MAXIMUM_BYTES:
        raise unreadable(path, f"it has more than {_MAXIMUM_BYTES} bytes")
    try:
        table = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        # Neither the error nor its cause: both may hold a piece of the file.
        raise unreadable(path, "it is no JSON") from None
    if not isinstance(table, dict):
        raise unreadable(path, "it is not a JSON object")
    return table


def unreadable(path: str, reason: str) -> RegistryRefused:
    """Return the error for a file with credentials that can't be used."""
    return RegistryRefused(f"cannot read the credentials in {path}: {reason}")


def names_of(registry: str) -> tuple[str, ...]:
    """Return the names that a registry's entries may stand under."""
    if registry == DOCKER_HUB:
        return (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
    return (registry,)


def helper_names(registry: str) -> tuple[str, ...]:
    """Return the names by which credential helpers are asked for a registry."""
    return (HUB_KEY, DOCKER_HUB) if registry == DOCKER_HUB else (registry,)


def helpers(table: dict[str, Any], path: str, registry: str) -> list[str]:
    """Return the helpers that may know a registry, its own (`credHelpers`) first.

    Raises:
        RegistryRefused: a helper's name is none.
    """
    own = _table(table, "credHelpers", path)
    named = [own.get(key) for key in (*names_of(registry), *helper_names(registry))]
    found = [helper for helper in (*named, table.get("credsStore")) if helper]
    for helper in found:
        # What begins a program's name may not lead to another folder.
        if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
            raise unreadable(path, "it names a credential helper that can't be one")
    return list(dict.fromkeys(found))


def stored(table: dict[str, Any], path: str, registry: str, repository: str) -> Credentials | None:
    """Return the credentials that the file itself holds for a repository, or None.

    Raises:
        RegistryRefused: the entry is broken.
    """
    entries = _table(table, "auths", path)
    for key in _keys(entries, registry, repository):
        found = _credentials(entries[key], key, path)
        if found is not None:
            return found
    return None


def keys_of(table: dict[str, Any], path: str, registry: str) -> list[str]:
    """Return the keys of `auths` that stand for the registry as a whole."""
    return _keys(_table(table, "auths", path), registry, "")


def _keys(entries: dict[str, Any], registry: str, repository: str) -> list[str]:
    parts = repository.split("/") if repository else []
    paths = ["".join(f"/{part}" for part in parts[:count]) for count in range(len(parts), -1, -1)]
    exact = [f"{name}{path}" for path in paths for name in names_of(registry)]
    old = [key for key in entries if _host_of(key) in names_of(registry)]
    return [key for key in dict.fromkeys([*exact, *old]) if key in entries]


def _host_of(key: str) -> str | None:
    match = _OLD_KEY.fullmatch(key)
    return match[1].lower() if match else None


def _credentials(entry: Any, key: str, path: str) -> Credentials | None:
    if not isinstance(entry, dict):
        raise unreadable(path, f"the entry of {key} is not a JSON object")
    username, password = entry.get("username") or "", entry.get("password") or ""
    token, pair = entry.get("identitytoken") or None, entry.get("auth")
    if pair:
        try:
            text = base64.b64decode(pair, validate=True).decode("utf-8")
        except (TypeError, ValueError, binascii.Error):
            raise unreadable(path, f"'auth' of {key} is not base64") from None
        username, colon, password = text.partition(":")
        if not colon:
            raise unreadable(path, f"'auth' of {key} is no name and password")
        # Docker has written such bytes behind passwords.
        password = password.strip("\0")
    if not all(isinstance(one, str) for one in (username, password, token or "")):
        raise unreadable(path, f"the entry of {key} holds something that is no text")
    return Credentials(username, password, token) if token or username else None


def _table(table: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    value = table.get(key) or {}
    if not isinstance(value, dict):
        raise unreadable(path, f"'{key}' is not a JSON object")
    return value

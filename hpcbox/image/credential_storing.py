"""Keeping and forgetting credentials, where Docker and Podman look for them too.

The file (`credential_search.login_file`) is replaced whole or not at all, mode 0600; what else
stands in it stays. Where it names a credential helper for the registry, that one keeps the secret.
"""

import base64
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from hpcbox.errors import RegistryRefused
from hpcbox.image import credential_files, credential_helpers, credential_search
from hpcbox.image.credentials import Credentials
from hpcbox.image.reference import DOCKER_HUB


def keep(registry: str, credentials: Credentials, environ: Mapping[str, str]) -> str:
    """Store credentials; return where they are now, for people.

    Raises:
        RegistryRefused: the file or the helper can't take them.
    """
    path = credential_search.login_file(environ)
    key = credential_files.HUB_KEY if registry == DOCKER_HUB else registry
    with _locked(path):
        table = credential_files.read(path)
        helpers = credential_files.helpers(table, path, registry)
        known = credential_files.keys_of(table, path, registry)
        if helpers:
            credential_helpers.store(helpers[0], key, credentials)
            if known:
                # A secret that stood in the file from before is no use there.
                _write(path, _with(table, {name: {} for name in known}))
            return f"docker-credential-{helpers[0]}"
        pair = f"{credentials.username}:{credentials.password}".encode()
        entry = {"auth": base64.b64encode(pair).decode()}
        _write(path, _with(_without(table, known), {key: entry}))
    return path


def forget(registry: str, environ: Mapping[str, str]) -> bool:
    """Remove a registry's credentials; tell whether there were any.

    Raises:
        RegistryRefused: the file or a helper fails.
    """
    path = credential_search.login_file(environ)
    if not os.path.exists(path):
        return False
    with _locked(path):
        table = credential_files.read(path)
        names = credential_files.helper_names(registry)
        erased = [
            credential_helpers.erase(helper, name)
            for helper in credential_files.helpers(table, path, registry)
            for name in names
            if credential_helpers.get(helper, name) is not None
        ]
        known = credential_files.keys_of(table, path, registry)
        if known:
            _write(path, _without(table, known))
    return any(erased) or bool(known)


def _with(table: dict[str, Any], entries: Mapping[str, Any]) -> dict[str, Any]:
    return {**table, "auths": {**(table.get("auths") or {}), **entries}}


def _without(table: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    entries = {key: value for key, value in (table.get("auths") or {}).items() if key not in keys}
    return {**table, "auths": entries}


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold a lock on the file's folder: two logins at once must not lose one."""
    folder = os.path.dirname(os.path.realpath(path))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        # A file system without locks is no reason not to log in.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: str, table: dict[str, Any]) -> None:
    # A link, as those who keep their settings in a repository have, stays one.
    target = os.path.realpath(path)
    made = None
    try:
        descriptor, made = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".hpcbox-login-")
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(table, file, indent="\t")
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, target)
    except OSError as error:
        if made is not None:
            with suppress(OSError):
                os.unlink(made)
        raise _unwritable(path, error) from error


def _unwritable(path: str, error: OSError) -> RegistryRefused:
    return RegistryRefused(f"cannot write the credentials to {path}: {error.strerror}")

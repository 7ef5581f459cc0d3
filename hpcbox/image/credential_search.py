"""Where credentials are looked for; the first place that knows the registry counts.

    1  $REGISTRY_AUTH_FILE
    2  $DOCKER_CONFIG/config.json
    3  $XDG_RUNTIME_DIR/containers/auth.json         podman login
    4  $XDG_CONFIG_HOME/containers/auth.json         ~/.config without the variable
    5  ~/.docker/config.json                         docker login, hpcbox login
    6  the netrc-style file of the setting `netrc`   ~/.config/hpcbox/netrc

Inside a JSON file: `credHelpers` for the registry, then `credsStore`, then `auths`.
"""

import os
from collections.abc import Mapping

from hpcbox.image import credential_files, credential_helpers, netrc
from hpcbox.image.credentials import Credentials


def find(
    registry: str, repository: str, netrc_path: str, environ: Mapping[str, str] | None = None
) -> Credentials | None:
    """Return this account's credentials for a repository, or None when it has none.

    Raises:
        RegistryRefused: a file or a credential helper can't be read.
    """
    environ = os.environ if environ is None else environ
    for path in files(environ):
        found = _in_file(path, registry, repository)
        if found is not None:
            return found
    return _in_netrc(netrc_path, registry)


def knowing(registry: str, netrc_path: str, environ: Mapping[str, str]) -> list[str]:
    """Return the files that have credentials for a registry as a whole; raises as `find` does."""
    found = [path for path in files(environ) if _in_file(path, registry, "") is not None]
    return [*found, netrc_path] if _in_netrc(netrc_path, registry) is not None else found


def files(environ: Mapping[str, str]) -> list[str]:
    """Return the JSON files that may hold credentials, in their order."""
    home = os.path.expanduser("~")
    configuration = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    runtime, docker = environ.get("XDG_RUNTIME_DIR"), environ.get("DOCKER_CONFIG")
    found = [
        environ.get("REGISTRY_AUTH_FILE"),
        f"{docker}/config.json" if docker else None,
        f"{runtime}/containers/auth.json" if runtime else None,
        f"{configuration}/containers/auth.json",
        f"{home}/.docker/config.json",
    ]
    return list(dict.fromkeys(path for path in found if path))


def login_file(environ: Mapping[str, str]) -> str:
    """Return the file that `hpcbox login` writes.

    The home is shared between the machines of a cluster, a runtime folder isn't: nodes would not
    find what stands there.
    """
    docker = environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return environ.get("REGISTRY_AUTH_FILE") or f"{docker}/config.json"


def _in_netrc(path: str, registry: str) -> Credentials | None:
    for name in credential_files.names_of(registry):
        pair = netrc.find(path, name)
        if pair is not None:
            return Credentials(*pair)
    return None


def _in_file(path: str, registry: str, repository: str) -> Credentials | None:
    table = credential_files.read(path)
    for helper in credential_files.helpers(table, path, registry):
        for name in credential_files.helper_names(registry):
            found = credential_helpers.get(helper, name)
            if found is not None:
                return found
    return credential_files.stored(table, path, registry, repository)

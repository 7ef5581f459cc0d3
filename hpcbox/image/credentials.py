"""Credentials as `docker login` stores them: config.json, credHelpers, credsStore, DOCKER_CONFIG.

The only place that imports docker-py: loading it costs more than a whole `hpcbox resolve`, so it
happens when a registry has asked for a name and a password.
"""

import binascii
from dataclasses import dataclass, field

from hpcbox.errors import RegistryRefused
from hpcbox.image.reference import DOCKER_HUB


@dataclass(frozen=True, slots=True)
class Credentials:
    """A registry's name and password, or the identity token that stands for both."""

    username: str
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + binascii.b2a_base64(pair, newline=False).decode()


def find(registry: str) -> Credentials | None:
    """Return this account's credentials for a registry, or None when it has none.

    Raises:
        RegistryRefused: the file or the credential helper can't be read.
    """
    import docker.auth  # noqa: PLC0415 - see above
    import docker.errors  # noqa: PLC0415

    name = docker.auth.INDEX_NAME if registry == DOCKER_HUB else registry
    try:
        found = docker.auth.resolve_authconfig(docker.auth.load_config(), registry=name)
    except (docker.errors.DockerException, ValueError, OSError) as error:
        raise RegistryRefused(
            f"cannot read the credentials for {registry}: {error}",
            hint="they stand in ~/.docker/config.json or in $DOCKER_CONFIG/config.json",
        ) from error
    if not found:
        return None
    token = found.get("IdentityToken") or found.get("identitytoken")
    username = found.get("Username") or found.get("username") or ""
    password = found.get("Password") or found.get("password") or ""
    if not token and not username:
        return None
    return Credentials(username, password, token)

"""A registry's name and password, or the identity token that stands for both."""

import binascii
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry knows this account by; secrets are no part of its repr."""

    username: str
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + binascii.b2a_base64(pair, newline=False).decode()

    @property
    def owner(self) -> str:
        """Whose they are, for messages."""
        return self.username or "the identity token"


FindCredentials = Callable[[str, str], Credentials | None]
"""Finds credentials for a registry (HOST[:PORT]) and a repository in it."""

"""Answers to a registry's challenge: Basic (RFC 7617) and Docker's token service.

The flow is that of distribution's "Token Authentication Specification" and its OAuth 2 form.
Credentials go to the registry itself and to the token service that it names: by https, or by http
where the registry itself speaks plain http.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from hpcbox.errors import RegistryRefused, shorten
from hpcbox.image.credentials import Credentials, FindCredentials
from hpcbox.image.places import Place

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_SCHEME = re.compile(rf"\s*,?\s*({_WORD})(?:\s+(?!=)|$|(?=,))")
_PARAMETER = re.compile(rf'\s*,?\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')

Ask = Callable[[str, str, Mapping[str, str], str | None], tuple[int, bytes]]
"""Sends method, address, headers and body, again if need be; returns status and answer."""


class Challenge(NamedTuple):
    """One way to authenticate that a registry offers: a scheme in lower case, its parameters."""

    scheme: str
    parameters: Mapping[str, str]


class Refusals:
    """The errors for an image, or another purpose, that an account is not let to."""

    def __init__(self, purpose: str, registry: str, advice: str | None = None) -> None:
        """Speak of `cannot PURPOSE`; `advice` replaces `hpcbox login`."""
        self._purpose = purpose
        self._registry = registry
        self._advice = advice

    def wanted(self) -> RegistryRefused:
        """Return the error for an account without credentials."""
        return RegistryRefused(
            f"cannot {self._purpose}: the registry wants credentials (401)",
            hint=self._advice
            or f"run 'hpcbox login {self._registry}', or check the name: many registries answer so"
            " for an image that does not exist",
        )

    def refused(self, found: Credentials | None, status: int = 401) -> RegistryRefused:
        """Return the error for credentials that the registry doesn't take."""
        if found is None:
            return self.wanted()
        return RegistryRefused(
            f"cannot {self._purpose}: the registry refused the credentials of"
            f" {shorten(found.owner, 80)} ({status})",
            hint=self._advice or f"run 'hpcbox login {self._registry}'",
        )

    def forbidden(self, found: Credentials | None) -> RegistryRefused:
        """Return the error for an account that is known and has no right."""
        whom = f"access to {shorten(found.owner, 80)}" if found else "access without credentials"
        advice = "this account may not read it: ask its owner"
        return RegistryRefused(
            f"cannot {self._purpose}: the registry refused {whom} (403)",
            hint=advice if found else f"run 'hpcbox login {self._registry}', or ask its owner",
        )

    def odd(self, reason: str) -> RegistryRefused:
        """Return the error for a challenge that can't be answered."""
        return RegistryRefused(f"cannot {self._purpose}: {reason}")


class Authorization:
    """The Authorization header for one place, renewed when the registry asks for it."""

    def __init__(self, place: Place, find: FindCredentials, ask: Ask, refusals: Refusals) -> None:
        self._place = place
        self._find = find
        self._ask = ask
        self._refusals = refusals
        self._found: Credentials | None = None
        self._lock = threading.Lock()
        self.header: str | None = None

    def renew(self, used: str | None, header: str) -> None:
        """Get a new header, unless another thread has got one since `used` was.

        Args:
            used: the header that the registry has just refused.
            header: its WWW-Authenticate.

        Raises:
            RegistryRefused: the account has no credentials for this challenge.
            RegistryUnreachable: the token service can't be reached.
        """
        with self._lock:
            if self.header == used:
                self._found = self._find(self._place.registry, self._place.repository)
                self.header = self._answer(challenges(header))

    def refused(self) -> RegistryRefused:
        """Return the error for an answer 401 to the newest header."""
        return self._refusals.refused(self._found)

    def forbidden(self) -> RegistryRefused:
        """Return the error for an answer 403."""
        return self._refusals.forbidden(self._found)

    def _answer(self, offered: list[Challenge]) -> str:
        for challenge in offered:
            if challenge.scheme == "bearer":
                return "Bearer " + self._token(challenge.parameters)
        if offered and not any(challenge.scheme == "basic" for challenge in offered):
            schemes = ", ".join(challenge.scheme for challenge in offered)
            raise self._refusals.odd(
                f"the registry asks for '{shorten(schemes, 40)}', which hpcbox does not know"
            )
        if self._found is None:
            raise self._refusals.wanted()
        if self._found.identity_token:
            raise self._refusals.refused(self._found)
        return self._found.basic

    def _token(self, parameters: Mapping[str, str]) -> str:
        realm = parameters.get("realm", "")
        self._check_realm(realm)
        query = [("service", parameters["service"])] if "service" in parameters else []
        scopes = parameters.get("scope", "").split()
        if not scopes and self._place.repository:
            scopes = [f"repository:{self._place.repository}:pull"]
        status, body = self._ask_token(realm, query, scopes)
        if status in (400, 401, 403):
            raise self._refusals.refused(self._found, status)
        if status != 200:
            raise self._refusals.odd(f"the registry's token service answers {status}")
        return self._read(body)

    def _ask_token(
        self, realm: str, query: list[tuple[str, str]], scopes: list[str]
    ) -> tuple[int, bytes]:
        found = self._found
        if found is not None and found.identity_token:
            fields = [
                *query,
                ("grant_type", "refresh_token"),
                ("client_id", "hpcbox"),
                ("refresh_token", found.identity_token),
                *([("scope", " ".join(scopes))] if scopes else []),
            ]
            return self._ask("POST", realm, _FORM, urlencode(fields))
        words = urlencode([*query, *(("scope", scope) for scope in scopes)])
        joint = "&" if urlsplit(realm).query else "?"
        headers = {} if found is None else {"Authorization": found.basic}
        return self._ask("GET", f"{realm}{joint}{words}" if words else realm, headers, None)

    def _check_realm(self, realm: str) -> None:
        try:
            parts = urlsplit(realm)
            scheme, host = parts.scheme, parts.hostname
        except ValueError:
            scheme, host = "", None
        plain = scheme == "http" and self._place.rules.plain_http
        if not host or not (scheme == "https" or plain):
            shown = shorten(realm.partition("?")[0], 120)
            raise self._refusals.odd(f"the registry's token service '{shown}' is no https address")

    def _read(self, body: bytes) -> str:
        try:
            answer = json.loads(body)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self._refusals.odd(
                "the registry's token service answered with something that is no token"
            )
        return token


def challenges(header: str) -> list[Challenge]:
    """Return what a WWW-Authenticate header offers (RFC 9110, 11.6.1), in its order."""
    found: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while pair := _PARAMETER.match(header, position):
            position = pair.end()
            quoted = pair[2]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else pair[3]
            parameters.setdefault(pair[1].lower(), value)
        found.append(Challenge(match[1].lower(), parameters))
    return found

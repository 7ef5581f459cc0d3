"""Requests to one place: redirects, authentication and new attempts together.

Rules kept here and nowhere else: an Authorization header never goes to another origin; a redirect
leads to http or https only, and from https never to http; each new attempt begins at the registry,
for the address of a redirect may have expired. What the answers mean is registry.py's.
"""

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import urljoin, urlsplit

from urllib3.exceptions import HTTPError

from hpcbox import __version__
from hpcbox.errors import ImageError, RegistryUnreachable, shorten
from hpcbox.image.authorization import Authorization, Refusals
from hpcbox.image.connections import Connections, Response, is_passing, read_document
from hpcbox.image.credentials import Credentials, FindCredentials
from hpcbox.image.places import Place
from hpcbox.image.retrying import Notice, Patience, retry_after, silent
from hpcbox.settings import Settings

_MAXIMUM_REDIRECTS = 5
_FRESH_SECONDS = 10.0
_MAXIMUM_TOKEN_BYTES = 2**20
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Transport:
    """Requests to one repository of one place, from any number of threads."""

    def __init__(
        self,
        place: Place,
        settings: Settings,
        purpose: str,
        *,
        advice: str | None = None,
        find_credentials: FindCredentials | None = None,
        limit_seconds: float | None = None,
        notice: Notice = silent,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Prepare requests; nothing is sent yet.

        Args:
            place: what is asked.
            settings: time limits, proxies and where credentials stand.
            purpose: what for, as "pull REFERENCE", for errors.
            advice: what to do about a refusal, in place of `hpcbox login`.
            find_credentials: in place of this account's files.
            limit_seconds: after which nothing is tried again.
            notice: is told why a request waits.
            sleep: for tests, in place of all waiting.
        """
        self.place = place
        self._settings = settings
        self._connections = Connections(place, settings)
        refusals = Refusals(purpose, place.name, advice)
        find = find_credentials or self._find
        self._authorization = Authorization(place, find, self._ask, refusals)
        self._deadline = None if limit_seconds is None else time.monotonic() + limit_seconds
        self._notice = notice
        self._sleep = sleep
        self._answered = False

    @property
    def was_challenged(self) -> bool:
        """Whether the registry has asked for credentials, and has got an answer."""
        return self._authorization.header is not None

    @property
    def document_seconds(self) -> float:
        """How long a manifest or a token may take, from its first byte to its last."""
        return 4 * self._settings.stall_seconds

    def patience(self, waiting: Callable[[float], object] = time.sleep) -> Patience:
        """Return the patience for one request or one blob; `waiting` is told how long to wait."""
        return Patience(
            self._settings.retry_seconds,
            deadline=self._deadline,
            notice=self._notice,
            sleep=self._sleep or waiting,
        )

    def get(
        self, path: str, headers: Mapping[str, str], patience: Patience | None = None
    ) -> Response:
        """Return the answer to a request for a path of the registry, its body still unread.

        Any status may come back except for 401 and those that may pass.

        Raises:
            RegistryRefused: the registry wants credentials that this account doesn't have.
            RegistryUnreachable: no answer, or a server error, after all new attempts.
        """
        patience = patience or self.patience()
        url = self.place.base + path
        renewed: float | None = None
        while True:
            used = self._authorization.header
            response = self._patiently(patience, partial(self._follow, url, headers, used))
            if response.status != 401:
                return response
            challenge = ", ".join(response.headers.getlist("WWW-Authenticate"))
            drop(response)
            # A token that is no longer good after a wait is another matter.
            if renewed is not None and time.monotonic() - renewed < _FRESH_SECONDS:
                raise self._authorization.refused()
            self._authorization.renew(used, challenge)
            renewed = time.monotonic()

    def forbidden(self) -> ImageError:
        """Return the error for an answer 403."""
        return self._authorization.forbidden()

    def explained(self, error: HTTPError) -> RegistryUnreachable:
        """Return the error that says in a user's words why a read failed."""
        return self._connections.explained(error)

    def _find(self, registry: str, repository: str) -> Credentials | None:
        # Most registries never ask.
        from hpcbox.image import credential_search  # noqa: PLC0415

        return credential_search.find(registry, repository, self._settings.netrc)

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: str | None
    ) -> tuple[int, bytes]:
        patience = self.patience()
        while True:
            response = self._patiently(
                patience, lambda: self._connections.request(method, url, _own(headers), body)
            )
            try:
                answer = read_document(response, _MAXIMUM_TOKEN_BYTES, self.document_seconds)
            except HTTPError as error:
                patience.wait(self.explained(error))
            else:
                return response.status, answer

    def _patiently(self, patience: Patience, attempt: Callable[[], Response]) -> Response:
        while True:
            try:
                response = attempt()
            except HTTPError as error:
                failure = self.explained(error)
                if not is_passing(error, known=self._answered):
                    raise failure from error
                patience.wait(failure, known=self._answered)
            else:
                self._answered = True
                if response.status not in _PASSING:
                    return response
                asked = retry_after(response.headers.get("Retry-After"))
                drop(response)
                patience.wait(self._busy(response.status, asked), asked_seconds=asked)

    def _busy(self, status: int, asked_seconds: float | None) -> RegistryUnreachable:
        name = self.place.name
        if status != 429:
            return RegistryUnreachable(
                f"registry {name} answers with error {status}", hint="try again later"
            )
        asked = f" and asks to wait {asked_seconds:.0f} s" if asked_seconds else ""
        return RegistryUnreachable(
            f"registry {name} limits this account's or machine's requests (429){asked}",
            hint=f"run 'hpcbox login {name}', or try again later",
        )

    def _follow(self, url: str, headers: Mapping[str, str], authorization: str | None) -> Response:
        for _ in range(_MAXIMUM_REDIRECTS + 1):
            sent = _own(headers)
            if authorization is not None and self.place.owns(url):
                sent["Authorization"] = authorization
            response = self._connections.request("GET", url, sent)
            location = response.headers.get("Location")
            if response.status == 401 and not self.place.owns(url):
                # Its challenge could lead the registry's credentials anywhere.
                drop(response)
                raise RegistryUnreachable(
                    f"registry {self.place.name} redirects to {shorten(urlsplit(url).netloc)},"
                    " which wants credentials of its own"
                )
            if response.status not in _REDIRECTS or location is None:
                return response
            drop(response)
            url = self._redirected(url, location)
        raise RegistryUnreachable(f"registry {self.place.name} redirects in a circle")

    def _redirected(self, old: str, location: str) -> str:
        name = self.place.name
        # What follows a question mark may be a signature that is as good as a password.
        shown = shorten(re.sub(r"//[^/]*@", "//", location.partition("?")[0]), 120)
        try:
            new = urljoin(old, location)
            parts = urlsplit(new)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise RegistryUnreachable(f"registry {name} redirects to '{shown}', which is not http")
        if parts.scheme == "http" and urlsplit(old).scheme == "https":
            raise RegistryUnreachable(
                f"registry {name} redirects from https to plain http: refused"
            )
        return new


def drop(response: Response) -> None:
    """Be done with an answer that nobody reads.

    Small bodies are read so that the connection can be used again; others cost less to cut.
    """
    with contextlib.suppress(HTTPError):
        response.read(65536)
    response.close()
    response.release_conn()


def _own(headers: Mapping[str, str]) -> dict[str, str]:
    return {"User-Agent": f"hpcbox/{__version__}", "Accept-Encoding": "identity", **headers}

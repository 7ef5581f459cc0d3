"""HTTP to one registry: authentication, redirects, retries, time limits.

Rules kept here and nowhere else: an Authorization header never goes to another host; a redirect
leads to http or https only, and from https never to http; a loopback registry that no setting
describes is spoken to in plain http; every wait has a limit (OCI distribution-spec; the token
flow is Docker's "Token Authentication Specification"). What the answers mean is registry.py's.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from hpcbox import __version__
from hpcbox.errors import HpcboxError, RegistryRefused, RegistryUnreachable, shorten
from hpcbox.image import credentials
from hpcbox.image.reference import DOCKER_HUB
from hpcbox.settings import Registry, Settings

Response = urllib3.BaseHTTPResponse

_MAXIMUM_REDIRECTS = 5
_MAXIMUM_TOKEN_BYTES = 2**20
_PAUSES_SECONDS = (0.2, 1.0)
_RETRIED = frozenset({500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOPBACK = re.compile(r"(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?")
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')


class Transport:
    """Requests to one repository of one registry, from any number of threads."""

    def __init__(
        self,
        registry: str,
        repository: str,
        settings: Settings,
        *,
        find_credentials: Callable[[str], credentials.Credentials | None] = credentials.find,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.registry = registry
        self._repository = repository
        self._rules = settings.registries.get(registry) or Registry(
            plain_http=bool(_LOOPBACK.fullmatch(registry))
        )
        self._settings = settings
        self._find_credentials = find_credentials
        self._sleep = sleep
        self._authorization: str | None = None
        self._lock = threading.Lock()
        host = "registry-1.docker.io" if registry == DOCKER_HUB else registry
        self._base = f"{'http' if self._rules.plain_http else 'https'}://{host}"
        # A registry that was never reached gets little time; one that sends may pause for longer.
        self._pool = urllib3.PoolManager(
            maxsize=max(settings.pull_threads, 1) + 1,
            retries=False,
            timeout=urllib3.Timeout(connect=settings.timeout_seconds, read=settings.stall_seconds),
            ca_certs=self._rules.ca_file,
        )

    def get(self, path: str, headers: Mapping[str, str], method: str = "GET") -> Response:
        """Return the answer to a request for a path of the registry, its body still unread.

        Any status may come back except for 401 and 5xx.

        Raises:
            RegistryRefused: the registry wants credentials that this account doesn't have.
            RegistryUnreachable: no answer, or a server error, after all retries.
        """
        response = self._follow(path, headers, method)
        if response.status != 401:
            return response
        challenge = response.headers.get("WWW-Authenticate", "")
        _drop(response)
        with self._lock:
            self._authorization = self._answer(challenge)
        response = self._follow(path, headers, method)
        if response.status == 401:
            _drop(response)
            raise self._refused("it refused the credentials of this account")
        return response

    def _follow(self, path: str, headers: Mapping[str, str], method: str) -> Response:
        url = self._base + path
        for _ in range(_MAXIMUM_REDIRECTS + 1):
            sent = {"User-Agent": f"hpcbox/{__version__}", "Accept-Encoding": "identity", **headers}
            if self._authorization is not None and _origin(url) == _origin(self._base):
                sent["Authorization"] = self._authorization
            response = self._send(method, url, sent)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return response
            _drop(response)
            url = self._checked_redirect(url, urljoin(url, location))
        raise RegistryUnreachable(f"registry {self.registry} redirects in a circle")

    def _checked_redirect(self, old: str, new: str) -> str:
        scheme = urlsplit(new).scheme
        if scheme not in ("http", "https"):
            raise RegistryUnreachable(
                f"registry {self.registry} redirects to '{shorten(new, 120)}', which is not http"
            )
        if scheme == "http" and urlsplit(old).scheme == "https":
            raise RegistryUnreachable(
                f"registry {self.registry} redirects from https to plain http: refused"
            )
        return new

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> Response:
        for pause in (*_PAUSES_SECONDS, None):
            try:
                response = self._pool.request(
                    method, url, headers=headers, redirect=False, preload_content=False
                )
            except HTTPError as error:
                if pause is None or not isinstance(error, (NewConnectionError, ProtocolError)):
                    raise self.unreachable(error) from error
            else:
                if response.status not in _RETRIED:
                    return response
                _drop(response)
                if pause is None:
                    raise RegistryUnreachable(
                        f"registry {self.registry} answers with error {response.status}",
                        hint="try again later",
                    )
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def unreachable(self, error: HTTPError) -> RegistryUnreachable:
        """Return the error that says in a user's words why a request or a read failed."""
        if isinstance(error, ReadTimeoutError):
            seconds = f"{self._settings.stall_seconds:g}"
            return RegistryUnreachable(
                f"registry {self.registry} sent nothing for {seconds} seconds",
                hint="try again later",
            )
        if isinstance(error, SSLError):
            return RegistryUnreachable(*_tls(self.registry, error))
        if isinstance(error, urllib3.exceptions.ConnectTimeoutError) and not isinstance(
            error, NewConnectionError
        ):
            reason = f"no answer within {self._settings.timeout_seconds:g} seconds"
        else:
            reason = _reason(error)
        return RegistryUnreachable(
            f"registry {self.registry} cannot be reached: {reason}",
            hint="check the registry's name and this machine's network",
        )

    def _answer(self, challenge: str) -> str:
        kind, _, rest = challenge.partition(" ")
        found = self._find_credentials(self.registry)
        if kind.lower() == "basic":
            if found is None or found.identity_token:
                raise self._refused("it wants a name and a password")
            return found.basic
        if kind.lower() != "bearer":
            raise self._refused(f"it asks for '{shorten(kind, 40)}', which hpcbox does not know")
        parameters = {
            name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)
        }
        return "Bearer " + self._fetch_token(parameters, found)

    def _fetch_token(
        self, parameters: Mapping[str, str], found: credentials.Credentials | None
    ) -> str:
        realm = parameters.get("realm", "")
        scheme = urlsplit(realm).scheme
        if scheme != "https" and not (scheme == "http" and self._rules.plain_http):
            raise self._refused(f"its token service '{shorten(realm, 120)}' is no https address")
        query = {"scope": parameters.get("scope") or f"repository:{self._repository}:pull"}
        if "service" in parameters:
            query["service"] = parameters["service"]
        headers = {"User-Agent": f"hpcbox/{__version__}"}
        try:
            if found is not None and found.identity_token:
                fields = {**query, "grant_type": "refresh_token", "client_id": "hpcbox"}
                fields["refresh_token"] = found.identity_token
                response = self._pool.request(
                    "POST", realm, body=urlencode(fields), redirect=False, preload_content=False,
                    headers={**headers, "Content-Type": "application/x-www-form-urlencoded"},
                )  # fmt: skip
            else:
                if found is not None:
                    headers["Authorization"] = found.basic
                response = self._send("GET", f"{realm}{_joint(realm)}{urlencode(query)}", headers)
            body = response.read(_MAXIMUM_TOKEN_BYTES)
        except HTTPError as error:
            raise self.unreachable(error) from error
        if response.status != 200:
            _drop(response)
            raise self._refused(
                "its token service refused the credentials of this account"
                if found is not None
                else "its token service wants a name and a password"
            )
        response.release_conn()
        return self._token(body)

    def _token(self, body: bytes) -> str:
        try:
            answer = json.loads(body)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self._refused("its token service answered with something that is no token")
        return token

    def _refused(self, reason: str) -> HpcboxError:
        return RegistryRefused(
            f"registry {self.registry} refused access to {self._repository}: {reason}",
            hint=f"log in with 'docker login {self.registry}', or check the name: many registries"
            " answer so for an image that does not exist",
        )


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _joint(url: str) -> str:
    return "&" if urlsplit(url).query else "?"


def _drop(response: Response) -> None:
    # Small bodies are read so that the connection can be used again; others cost less to cut.
    with contextlib.suppress(HTTPError):
        response.read(65536)
    response.close()
    response.release_conn()


def _reason(error: HTTPError) -> str:
    # urllib3 wraps what matters: "… Failed to establish a new connection: [Errno 111] Connection …"
    text = str(error).rpartition("Failed to establish a new connection: ")[2]
    return shorten(re.sub(r"^\[Errno -?\d+\] |<[^>]*>:? ?", "", text), 160)


def _tls(registry: str, error: SSLError) -> tuple[str]:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        advice = "its certificate is not trusted — name its authority: ca_file"
    elif "WRONG_VERSION_NUMBER" in text or "UNKNOWN_PROTOCOL" in text:
        advice = "it seems to speak plain http — allow that: plain_http = true"
    else:
        return (f"registry {registry} cannot be reached: TLS failed: {shorten(text, 160)}",)
    return (f'registry {registry} cannot be reached: {advice} under [registries."{registry}"]',)

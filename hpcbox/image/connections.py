"""Sockets to one registry and to where it redirects: TLS, proxies, time limits.

One request is one attempt here; nothing is repeated, followed or authorized. A client certificate
is shown to the registry's own origin only.
"""

import os
import re
import ssl
import time
from collections.abc import Mapping

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import create_urllib3_context

from hpcbox.errors import RegistryUnreachable, SettingsError, shorten
from hpcbox.image import netrc, proxies
from hpcbox.image.places import Place
from hpcbox.registries import Proxy
from hpcbox.settings import Settings

Response = urllib3.BaseHTTPResponse


class Connections:
    """Connections of one pull to one place, from any number of threads."""

    def __init__(
        self, place: Place, settings: Settings, environ: Mapping[str, str] | None = None
    ) -> None:
        self._place = place
        self._settings = settings
        self._environ = os.environ if environ is None else environ
        self._pools: dict[tuple[Proxy | None, bool], urllib3.PoolManager] = {}

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: str | None = None
    ) -> Response:
        """Return the answer to one request, its body still unread.

        Raises:
            HTTPError: urllib3's word for what went wrong; `explained` has words for people.
            SettingsError: a certificate or proxy of the settings can't be used.
        """
        proxy = proxies.choose(url, self._place.rules, self._environ)
        own = self._place.owns(url)
        pool = self._pools.get((proxy, own))
        if pool is None:
            # Two threads may both make one: then the later one is used from then on.
            pool = self._pools[(proxy, own)] = self._pool(proxy, own=own)
        return pool.request(
            method, url, headers=headers, body=body, redirect=False, preload_content=False
        )

    def explained(self, error: HTTPError) -> RegistryUnreachable:
        """Return the error that says in a user's words why a request or a read failed."""
        name = self._place.name
        if isinstance(error, ReadTimeoutError):
            seconds = f"{self._settings.stall_seconds:g}"
            return RegistryUnreachable(
                f"registry {name} sent nothing for {seconds} seconds", hint="try again later"
            )
        if isinstance(error, SSLError):
            return RegistryUnreachable(
                f"registry {name} cannot be reached: {_tls(name, str(error))}"
            )
        if isinstance(error, ProxyError) or "Tunnel connection failed" in str(error):
            return RegistryUnreachable(
                f"registry {name} cannot be reached: its proxy fails: {_reason(error)}",
                hint=f'check HTTPS_PROXY, or proxy under [registries."{name}"]',
            )
        if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
            reason = f"no answer within {self._settings.timeout_seconds:g} seconds"
        else:
            reason = _reason(error)
        return RegistryUnreachable(
            f"registry {name} cannot be reached: {reason}",
            hint="check the registry's name and this machine's network",
        )

    def _pool(self, proxy: Proxy | None, *, own: bool) -> urllib3.PoolManager:
        # A registry that was never reached gets little time; one that sends may pause for longer.
        timeout = urllib3.Timeout(
            connect=self._settings.timeout_seconds, read=self._settings.stall_seconds
        )
        size = max(self._settings.pull_threads, 1) + 1
        context = None if own and self._place.rules.plain_http else self._context(own=own)
        if proxy is None:
            return urllib3.PoolManager(
                maxsize=size, retries=False, timeout=timeout, ssl_context=context
            )
        return urllib3.ProxyManager(
            proxy.address,
            proxy_headers=self._proxy_headers(proxy),
            maxsize=size,
            retries=False,
            timeout=timeout,
            ssl_context=context,
        )

    def _proxy_headers(self, proxy: Proxy) -> dict[str, str]:
        pair = (proxy.username, proxy.password) if proxy.username else None
        host = proxy.address.partition("://")[2]
        for machine in (host, re.sub(r":\d+$", "", host)):
            pair = pair or netrc.find(self._settings.netrc, machine)
        if pair is None:
            return {}
        return urllib3.make_headers(proxy_basic_auth=f"{pair[0]}:{pair[1]}")

    def _context(self, *, own: bool) -> ssl.SSLContext:
        rules = self._place.rules
        context = create_urllib3_context()
        context.load_default_certs()
        file = rules.ca_file
        try:
            if file:
                context.load_verify_locations(file)
            file = rules.client_certificate
            if file and own:
                # Without a password callback OpenSSL would ask for one on the terminal.
                context.load_cert_chain(file, rules.client_key, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"cannot use the certificate {file} for registry {self._place.name}:"
                f" {error.strerror or 'it is broken'}"
            ) from error
        return context


def read_document(response: Response, limit_bytes: int, limit_seconds: float) -> bytes:
    """Return a small answer's body whole; of a larger one `limit_bytes` + 1 bytes.

    Raises:
        HTTPError: it is cut, or takes longer than `limit_seconds`.
    """
    body = b""
    end = time.monotonic() + limit_seconds
    try:
        while len(body) <= limit_bytes:
            # What is there, not as much as was asked for: a trickle must not pass for an answer.
            piece = response.read1(limit_bytes + 1 - len(body), decode_content=False)
            if not piece:
                break
            body += piece
            if time.monotonic() > end:
                raise HTTPError(f"its answer took longer than {limit_seconds:g} seconds")
    finally:
        response.close()
        response.release_conn()
    return body


def is_passing(error: HTTPError, *, known: bool) -> bool:
    """Tell whether the same request may do better in a moment.

    `known` says whether this registry has ever answered.
    """
    if isinstance(error, SSLError):
        return known and "EOF" in str(error)
    if isinstance(error, ProxyError) or "Tunnel connection failed: 4" in str(error):
        return False
    if isinstance(error, (NewConnectionError, ProtocolError)):
        return True
    # Who has let us wait for so long without ever having answered is given up.
    return known and isinstance(error, (ConnectTimeoutError, ReadTimeoutError))


def _reason(error: HTTPError) -> str:
    # urllib3 wraps what matters: "… Failed to establish a new connection: [Errno 111] Connection …"
    text = str(error).rpartition("Failed to establish a new connection: ")[2]
    text = re.sub(r"\[Errno -?\d+\] |<[^>]*>:? ?", "", text)
    return shorten(
        re.sub(r"^\('([^']*?)\.?', ?\w+\((?:\d+, )?'([^']*)'\)\)$", r"\1: \2", text), 160
    )


def _tls(registry: str, text: str) -> str:
    where = f'under [registries."{registry}"]'
    if "CERTIFICATE_VERIFY_FAILED" in text:
        # Why: "self-signed certificate", "certificate has expired", "Hostname mismatch …".
        why = re.search(r"certificate verify failed: (.*?)(?: \(_ssl|\)|$)", text)
        reason = f" ({shorten(why[1], 80)})" if why else ""
        return f"its certificate is not trusted{reason} — name its authority: ca_file {where}"
    if "WRONG_VERSION_NUMBER" in text or "UNKNOWN_PROTOCOL" in text:
        return f"it seems to speak plain http — allow that: plain_http = true {where}"
    return f"TLS failed: {shorten(text, 160)}"

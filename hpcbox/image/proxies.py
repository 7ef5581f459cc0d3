"""Which proxy leads to an address: the setting of the registry, or else the environment.

HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in either case, as curl(1) reads them; loopback
addresses never go through a proxy that only the environment names.
"""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from hpcbox.errors import SettingsError
from hpcbox.registries import Proxy, Registry, parse_proxy

LOOPBACK = re.compile(r"(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?")


def choose(url: str, rules: Registry, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an address, or None for a direct connection.

    Raises:
        SettingsError: a variable holds no proxy's address.
    """
    if rules.proxy is not None:
        return rules.proxy if rules.proxy.address else None
    parts = urlsplit(url)
    if LOOPBACK.fullmatch(parts.netloc.lower()):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        value = _variable(name, environ)
        if value:
            excluded = _variable("no_proxy", environ)
            return None if _matches(parts.netloc.lower(), excluded) else _parsed(name, value)
    return None


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _parsed(name: str, value: str) -> Proxy:
    try:
        return parse_proxy(value)
    except ValueError as error:
        raise SettingsError(f"the variable {name.upper()} names no proxy: {error}") from error


def _matches(location: str, excluded: str) -> bool:
    host = re.sub(r":\d+$", "", location).strip("[]")
    return any(
        _is_meant(item.strip().lower(), host, location)
        for item in excluded.split(",")
        if item.strip()
    )


def _is_meant(item: str, host: str, location: str) -> bool:
    domain = item.removeprefix("*").lstrip(".")
    if item == "*" or item in (host, location) or host == domain or host.endswith(f".{domain}"):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(item, strict=False)
    except ValueError:
        return False

"""How registries are reached: the tables `[registries."HOST[:PORT]"]` of the settings files.

    plain_http           speak http without TLS; loopback registries may without any table
    ca_file              PEM file of authorities that are trusted besides the system's
    mirrors              places that are asked first, in their order: HOST[:PORT][/PREFIX]
    proxy                http(s)://[NAME:PASSWORD@]HOST[:PORT], or "none" to ignore HTTPS_PROXY
    client_certificate   PEM file that is shown to this registry and to nobody else
    client_key           its key, if the certificate's file does not hold it

What a site's file says of a registry stays: a user's file may add keys that it leaves open and
registries that it does not name.
"""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import unquote, urlsplit

DIRECT = "none"

_HOST = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
_NAME = re.compile(_HOST)
_MIRROR = re.compile(_HOST + r"(?:/[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)?")
_PROXY = re.compile(r"https?://[^/?#\s]+/?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; no address means: none, whatever the environment says.

    Attributes:
        address: `http://HOST:PORT`, without name and password.
    """

    address: str
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Registry:
    """How one registry is reached; see the module."""

    plain_http: bool = False
    ca_file: str | None = None
    mirrors: tuple[str, ...] = ()
    proxy: Proxy | None = None
    client_certificate: str | None = None
    client_key: str | None = None


def parse(value: Any) -> dict[str, Registry]:
    """Return the registries of a settings file's value, by HOST[:PORT].

    Raises:
        ValueError: a key is unknown or has a wrong value; names the registry and the key.
    """
    if not isinstance(value, dict):
        raise ValueError('tables like [registries."registry.site:5000"] are wanted')  # noqa: TRY004 - settings turns it into SettingsError
    return {name.lower(): _registry(name, table) for name, table in value.items()}


def parse_proxy(text: str) -> Proxy:
    """Return the proxy that a setting or an environment variable names.

    Raises:
        ValueError: the text is no proxy's address; the text, which may hold a password, is not
            repeated.
    """
    if text == DIRECT:
        return Proxy("")
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not _PROXY.fullmatch(url):
        raise ValueError('http://[NAME:PASSWORD@]HOST[:PORT] or "none" is wanted')
    shown = f"[{host}]" if ":" in host else host
    default = 443 if parts.scheme == "https" else 80
    address = f"{parts.scheme}://{shown}:{port or default}"
    return Proxy(address, unquote(parts.username or ""), unquote(parts.password or ""))


def as_table(registry: Registry) -> dict[str, Any]:
    """Return the table that `parse` reads back as an equal value."""
    table = {item.name: getattr(registry, item.name) for item in fields(registry)}
    if registry.proxy is not None:
        table["proxy"] = _proxy_text(registry.proxy)
    default = Registry()
    return {name: value for name, value in table.items() if value != getattr(default, name)}


def merged(site: Mapping[str, Registry], user: Mapping[str, Registry]) -> dict[str, Registry]:
    """Return the site's registries with what a user's file adds.

    Raises:
        ValueError: the user's file would change what the site's says.
    """
    result = dict(site)
    for name, theirs in user.items():
        result[name] = _added(name, site[name], theirs) if name in site else theirs
    return result


def _added(name: str, site: Registry, user: Registry) -> Registry:
    default = Registry()
    values = {}
    for item in fields(Registry):
        ours, theirs = getattr(site, item.name), getattr(user, item.name)
        unsaid = getattr(default, item.name)
        # A table without plain_http says: TLS.
        if theirs not in (ours, unsaid) and (ours != unsaid or item.name == "plain_http"):
            raise ValueError(f"'{item.name}' of {name} is the site's to say")
        values[item.name] = theirs if ours == unsaid else ours
    return Registry(**values)


def _proxy_text(proxy: Proxy) -> str:
    if not proxy.address or not proxy.username:
        return proxy.address or DIRECT
    from urllib.parse import quote  # noqa: PLC0415 - a site's file with a password is rare

    scheme, _, host = proxy.address.partition("://")
    return f"{scheme}://{quote(proxy.username, safe='')}:{quote(proxy.password, safe='')}@{host}"


def _registry(name: str, table: Any) -> Registry:
    if not _NAME.fullmatch(name.lower()):
        raise ValueError(f"'{name}' is no registry: HOST or HOST:PORT is meant")
    if not isinstance(table, dict):
        raise ValueError(f'a table like [registries."{name}"] is wanted')  # noqa: TRY004
    for key in table:
        if key not in _PARSERS:
            near = difflib.get_close_matches(key, _PARSERS, n=1)
            meant = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(_PARSERS)}"
            raise ValueError(f"'{key}' of {name} is unknown: {meant}")
    try:
        return Registry(**{key: _PARSERS[key](value) for key, value in table.items()})
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("plain_http is true or false")  # noqa: TRY004 - as above
    return value


def _file(value: Any) -> str:
    path = os.path.expanduser(value) if isinstance(value, str) else ""
    if not os.path.isabs(path):
        raise ValueError("an absolute path is wanted")
    return os.path.normpath(path)


def _mirrors(value: Any) -> tuple[str, ...]:
    texts = [str(item).lower() for item in value] if isinstance(value, (list, tuple)) else [""]
    if not all(_MIRROR.fullmatch(text) for text in texts):
        raise ValueError("mirrors is a list of HOST[:PORT][/PREFIX], without https://")
    return tuple(texts)


def _proxy(value: Any) -> Proxy:
    return parse_proxy(value if isinstance(value, str) else "")


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "plain_http": _truth,
    "ca_file": _file,
    "mirrors": _mirrors,
    "proxy": _proxy,
    "client_certificate": _file,
    "client_key": _file,
}

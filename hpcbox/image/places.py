"""The places where a repository can be asked for: its registry, and the mirrors before it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from hpcbox.errors import shorten
from hpcbox.image.proxies import LOOPBACK
from hpcbox.image.reference import DOCKER_HUB
from hpcbox.registries import Registry
from hpcbox.settings import Settings

_HUB_HOST = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Place:
    """A repository at one registry or mirror.

    Attributes:
        registry: HOST[:PORT], the name that credentials and rules go by.
        repository: the name there; of a mirror with its prefix.
        rules: how the registry is reached.
    """

    registry: str
    repository: str
    rules: Registry

    @property
    def name(self) -> str:
        """The registry's name for messages, which have no room for names of any length."""
        return shorten(self.registry, 100)

    @property
    def base(self) -> str:
        """The beginning of its addresses, `https://HOST[:PORT]`."""
        host = _HUB_HOST if self.registry == DOCKER_HUB else self.registry
        return f"{'http' if self.rules.plain_http else 'https'}://{host}"

    def owns(self, url: str) -> bool:
        """Tell whether an address has this registry's origin: scheme, host and port."""
        return _origin(url) == _origin(self.base)


def place(registry: str, repository: str, settings: Settings) -> Place:
    """Return the place of a repository in the registry itself."""
    # A loopback registry that no setting describes is spoken to in plain http.
    unset = Registry(plain_http=bool(LOOPBACK.fullmatch(registry)))
    return Place(registry, repository, settings.registries.get(registry) or unset)


def mirrors(registry: str, repository: str, settings: Settings) -> list[Place]:
    """Return the places that are asked before the registry, in their order."""
    rules = settings.registries.get(registry) or Registry()
    found = []
    for mirror in rules.mirrors:
        host, _, prefix = mirror.partition("/")
        found.append(place(host, f"{prefix}/{repository}" if prefix else repository, settings))
    return found


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()

"""What the tests of the registry client share: sources that lose no time."""

from collections.abc import Callable

from hpcbox.image.credentials import Credentials
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor, Platform
from hpcbox.image.reference import Reference
from hpcbox.image.registry import RegistrySource
from hpcbox.image.source import ByteStream
from hpcbox.registries import Registry
from hpcbox.settings import Settings

SECRET = Credentials("alice", "s3cret")


def source(
    address: str,
    repository: str = "a/b",
    *,
    digest: str | None = None,
    credentials: Credentials | None = None,
    stall_seconds: float = 5,
    timeout_seconds: float = 2,
    retry_seconds: float = 90,
    rules: Registry | None = None,
    platform: Platform | None = None,
    notice: Callable[[str], None] = lambda _text: None,
    sleep: Callable[[float], object] | None = lambda _seconds: None,
) -> RegistrySource:
    """Return the source of REPOSITORY:1 at a registry."""
    settings = Settings(
        store="/nonexistent",
        stall_seconds=stall_seconds,
        timeout_seconds=timeout_seconds,
        retry_seconds=retry_seconds,
        registries={address: rules} if rules else {},
    )
    return RegistrySource(
        Reference(address, repository, "1", Digest.parse(digest) if digest else None),
        settings,
        platform=platform,
        notice=notice,
        find_credentials=lambda _registry, _repository: credentials,
        sleep=sleep,
    )


def descriptor(body: bytes) -> Descriptor:
    """Return the descriptor of a blob."""
    return Descriptor("application/octet-stream", Digest.of(body), len(body))


def whole(stream: ByteStream) -> bytes:
    """Read a stream to its end."""
    pieces = []
    while piece := stream.read(2**16):
        pieces.append(piece)
    return b"".join(pieces)

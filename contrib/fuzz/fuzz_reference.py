"""Image references: any text is refused with one short line, or parses to what prints as itself."""

from collections.abc import Sequence

from target import Target, promise

from hpcbox.errors import HpcboxError
from hpcbox.image import reference

_SEEDS = """debian
debian:12
docker://ghcr.io/owner/name:tag
registry.site:5000/a/b_c/d-e@sha256:{hex}
registry.site#a/b:1
localhost/a
[::1]:5000/a:b
127.0.0.1:1/a
dockerd://name
podman://name:tag
oci:folder:ref
oci-archive:file.tar
docker-archive:/a/b.tar:name
dir:/srv/tree
./image.sqsh
/srv/image.erofs
~/a.squashfs
Upper/Case
https://host/a
a:b:c
a//b
user@host/a
host:99999/a""".replace("{hex}", "0123456789abcdef" * 4)


def _seeds() -> Sequence[bytes]:
    return [line.encode() for line in _SEEDS.splitlines()]


def _check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        parsed = reference.parse(text)
    except HpcboxError as error:
        promise(str(error).isprintable(), "a message moves the terminal")
        promise(len(str(error)) <= 600, "a message is longer than 600 characters")
        return
    shown = str(parsed)
    promise(shown.isprintable(), f"{shown!r} moves the terminal")
    promise(reference.parse(shown) == parsed, f"{shown!r} means something else than {text!r}")
    if isinstance(parsed, reference.Reference):
        promise("/" not in parsed.registry, "a registry holds a path")
        promise(".." not in parsed.repository.split("/"), "a repository climbs")
        promise("?" not in shown and "%" not in shown, "an address could be changed")


def _plant() -> str:
    vars(reference)["_check_characters"] = lambda _text: None
    return "references may hold any character"


TARGET = Target(("hpcbox.image.reference", "hpcbox.image.digest"), _seeds, _check, _plant, 300)

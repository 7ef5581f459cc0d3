"""Image references: the text that a user types, parsed once, at the door.

    [docker://][REGISTRY/]NAME[:TAG][@DIGEST]      also REGISTRY#NAME…
    dockerd://NAME  podman://NAME                  images of a local engine
    oci:DIR[:REF]  oci-archive:FILE[:REF]  docker-archive:FILE[:REF]  dir:PATH
    a path to a .sqsh, .squashfs or .erofs file

The grammar of names, tags and registries is distribution/reference's; the rule that tells a
registry from the first part of a name is Docker's (a dot, a colon or `localhost`). Nothing here
looks at a disk or a network: where DIR ends and REF begins is told by what is there
(`oci_layout.py`), and a relative path gets its folder by `local_path.py`.
"""

import re
from dataclasses import dataclass

from hpcbox.errors import ImageError, ReferenceInvalid, shorten
from hpcbox.image.digest import Digest

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"

OCI_FOLDER = "oci:"
OCI_ARCHIVE = "oci-archive:"
DOCKER_ARCHIVE = "docker-archive:"
FOLDER = "dir:"
FILE = "path"
DOCKER_ENGINE = "dockerd://"
PODMAN_ENGINE = "podman://"

_PATH_FORMS = (OCI_ARCHIVE, DOCKER_ARCHIVE, OCI_FOLDER, FOLDER)
_FORMS = (DOCKER_ENGINE, PODMAN_ENGINE, *_PATH_FORMS)
_FILE_SUFFIXES = (".sqsh", ".squashfs", ".erofs")
# What other tools call these things.
_OTHER_WORDS = {
    "docker-daemon:": DOCKER_ENGINE,
    "containers-storage:": PODMAN_ENGINE,
    "file://": "",
}
_MAXIMUM_LENGTH = 1024
_NAME_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
)
_HUB_NAMES = {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "docker.io"}


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry.

    Attributes:
        registry: HOST or HOST:PORT.
        repository: the name inside the registry, with `library/` where Docker Hub wants it.
        tag: the tag, or None when only a digest was given.
        digest: the digest that the bytes must have, or None.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def target(self) -> str:
        """What the manifest is asked for by: the digest when there is one, else the tag."""
        return str(self.digest) if self.digest else (self.tag or DEFAULT_TAG)

    def __str__(self) -> str:
        """The canonical text, which parses to an equal value."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        joint = "/" if _is_registry(self.registry) else "#"
        return f"{self.registry}{joint}{self.repository}{tag}{digest}"


@dataclass(frozen=True, slots=True)
class LocalReference:
    """An image that lies on this machine.

    Attributes:
        form: OCI_FOLDER, OCI_ARCHIVE, DOCKER_ARCHIVE, FOLDER, FILE (a file system image),
            DOCKER_ENGINE or PODMAN_ENGINE.
        location: what follows the prefix: a path, with :REF behind it or not, or a name.
    """

    form: str
    location: str

    @property
    def has_path(self) -> bool:
        """Whether the location is a path."""
        return self.form == FILE or self.form in _PATH_FORMS

    def __str__(self) -> str:
        """The text as it was typed, which parses to an equal value."""
        return self.location if self.form == FILE else f"{self.form}{self.location}"


def parse(text: str, default_registry: str = DOCKER_HUB) -> Reference | LocalReference:
    """Return what a user's text refers to.

    `default_registry` is the registry of a name without one.

    Raises:
        ReferenceInvalid: the text is no reference; says what is wrong and what was meant.
    """
    _check_characters(text)
    for word, form in _OTHER_WORDS.items():
        if text.startswith(word):
            meant = shorten(f"{form}{text.removeprefix(word)}", 120)
            raise _invalid(text, f"'{word}' is unknown", f"'{meant}' may be meant")
    for form in _FORMS:
        if text.startswith(form):
            return _local(text, form)
    if text.startswith(("/", "./", "../", "~")) or text.lower().endswith(_FILE_SUFFIXES):
        return _file(text)
    return _in_registry(text, default_registry)


def _local(text: str, form: str) -> LocalReference:
    location = text.removeprefix(form)
    if not location:
        raise _invalid(text, f"nothing follows '{form}'")
    if location.startswith("//"):
        meant = shorten(form + location.removeprefix("//"), 120)
        raise _invalid(text, f"'{form}' takes no slashes of its own", f"'{meant}' may be meant")
    if form in (DOCKER_ENGINE, PODMAN_ENGINE) and " " in location:
        raise _invalid(text, "it holds the character ' '")
    return LocalReference(form, location)


def _file(text: str) -> LocalReference:
    lower = text.lower()
    if lower.endswith(_FILE_SUFFIXES):
        return LocalReference(FILE, text)
    if lower.endswith((".tar", ".tar.gz", ".tgz")):
        raise _invalid(
            text, "a tar needs a word before its path", f"{OCI_ARCHIVE} or {DOCKER_ARCHIVE}"
        )
    raise _invalid(
        text, "a path must end in .sqsh, .squashfs or .erofs", "a folder is written dir:PATH"
    )


def _in_registry(text: str, default_registry: str) -> Reference:
    if " " in text:
        raise _invalid(text, "it holds the character ' '", "REGISTRY/NAME:TAG has none")
    rest = text.removeprefix("docker://")
    _check_scheme(text, rest)
    rest, digest = _split_digest(text, rest)
    registry, name = _split_registry(text, rest)
    name, tag = _split_tag(text, name)
    _check_name(text, name)
    if registry is None:
        registry = default_registry
    if registry in _HUB_NAMES:
        registry = DOCKER_HUB
        name = name if "/" in name else f"library/{name}"
    if len(name) > 255:
        raise _invalid(text, f"its name has {len(name)} characters, 255 are allowed")
    if tag is None and digest is None:
        tag = DEFAULT_TAG
    return Reference(registry, name, tag, digest)


def _check_characters(text: str) -> None:
    if not text.strip():
        raise ReferenceInvalid(
            "the image reference is empty",
            hint="REGISTRY/NAME:TAG is meant, as docker.io/debian:12",
        )
    if len(text) > _MAXIMUM_LENGTH:
        raise _invalid(text, f"it has {len(text)} characters, {_MAXIMUM_LENGTH} are allowed")
    for character in text:
        # Of all blanks only the plain one is printable: it may stand in a path.
        if not character.isprintable():
            raise _invalid(text, f"it holds the character {character!r}")


def _check_scheme(text: str, rest: str) -> None:
    scheme, separator, after = rest.partition("://")
    if not separator:
        return
    if scheme in ("http", "https"):
        raise _invalid(text, "it is a web address", f"'{shorten(after, 120)}' may be meant")
    raise _invalid(
        text,
        f"'{shorten(scheme, 40)}://' is unknown",
        f"known: docker://, {', '.join(_FORMS)}",
    )


def _split_digest(text: str, rest: str) -> tuple[str, Digest | None]:
    rest, at, digest = rest.partition("@")
    if not at:
        return rest, None
    if "/" in digest or "#" in digest:
        raise _invalid(
            text,
            "it names a user",
            "credentials come from 'hpcbox login', leave out what precedes @",
        )
    try:
        return rest, Digest.parse(digest)
    except ImageError as error:
        raise ReferenceInvalid(
            f"image reference '{shorten(text, 120)}': {error.message}", hint=error.hint
        ) from error


def _split_registry(text: str, rest: str) -> tuple[str | None, str]:
    if "#" in rest:
        registry, _, name = rest.partition("#")
    else:
        registry, slash, name = rest.partition("/")
        if not slash or not _is_registry(registry):
            return None, rest
    match = _HOST.fullmatch(registry)
    if not match:
        raise _invalid(
            text, f"'{shorten(registry, 80)}' is no registry", "HOST or HOST:PORT is meant"
        )
    if match[1] is not None and not 0 < int(match[1]) < 65536:
        raise _invalid(text, f"port {match[1]} of the registry does not exist")
    return registry.lower(), name


def _is_registry(part: str) -> bool:
    # A first part with upper case can't be a name: Docker takes it for a host, too.
    return "." in part or ":" in part or part == "localhost" or part != part.lower()


def _split_tag(text: str, name: str) -> tuple[str, str | None]:
    head, colon, tag = name.partition(":")
    if not colon:
        return name, None
    if not tag:
        raise _invalid(text, "no tag follows the colon", f"'{shorten(head, 120)}' may be meant")
    if "/" in tag:
        raise _invalid(text, "a slash follows the tag", "REGISTRY/NAME:TAG is meant")
    if not _TAG.fullmatch(tag):
        raise _invalid(
            text,
            f"'{shorten(tag, 60)}' is no tag",
            "letters, digits, '_', '.', '-' are allowed, at most 128 of them",
        )
    return head, tag


def _check_name(text: str, name: str) -> None:
    if not name:
        raise _invalid(text, "it names no image", "REGISTRY/NAME:TAG is meant")
    for part in name.split("/"):
        if _NAME_PART.fullmatch(part):
            continue
        if not part:
            raise _invalid(text, "a part of its name is empty", "look for '//' and a '/' at an end")
        if _NAME_PART.fullmatch(part.lower()):
            raise _invalid(
                text, "its name has upper-case letters", f"'{name.lower()}' may be meant"
            )
        raise _invalid(
            text,
            f"'{shorten(part, 60)}' is no part of a name",
            "lower-case letters and digits, with '.', '_' or '-' between them, are allowed",
        )


def _invalid(text: str, reason: str, hint: str | None = None) -> ReferenceInvalid:
    return ReferenceInvalid(f"image reference '{shorten(text, 120)}': {reason}", hint=hint)

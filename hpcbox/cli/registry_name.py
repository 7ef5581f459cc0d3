"""The registry that a verb is given, as references name it."""

from hpcbox.errors import ReferenceInvalid, RequestError, shorten
from hpcbox.image.reference import Reference, parse
from hpcbox.settings import Settings


def registry_of(text: str | None, settings: Settings) -> str:
    """Return HOST[:PORT]; without a text the default registry.

    Raises:
        RequestError: the text names no registry.
    """
    named = text or settings.default_registry
    host = named.removeprefix("https://").removeprefix("http://").removesuffix("/")
    # `docker://` in front: nothing that follows it names a form of local image.
    try:
        reference = parse(f"docker://{host}#name")
    except ReferenceInvalid:
        reference = None
    if not isinstance(reference, Reference):
        raise RequestError(
            f"'{shorten(named, 80)}' is no registry", hint="HOST or HOST:PORT is meant"
        )
    return reference.registry

"""The registry that a verb is given, as references name it."""

from hpcbox.errors import ReferenceInvalid, RequestError, shorten
from hpcbox.image.reference import parse_fetchable
from hpcbox.settings import Settings


def registry_of(text: str | None, settings: Settings) -> str:
    """Return HOST[:PORT]; without a text the default registry.

    Raises:
        RequestError: the text names no registry.
    """
    named = text or settings.default_registry
    host = named.removeprefix("https://").removeprefix("http://").removesuffix("/")
    try:
        return parse_fetchable(f"{host}#name").registry
    except ReferenceInvalid as error:
        raise RequestError(
            f"'{shorten(named, 80)}' is no registry", hint="HOST or HOST:PORT is meant"
        ) from error

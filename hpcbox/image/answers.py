"""What a registry's refusing answers mean, in the words of errors.py."""

import json

from urllib3.exceptions import HTTPError

from hpcbox.errors import ImageError, ImageNotFound, RegistryRefused, RegistryUnreachable, shorten
from hpcbox.image.connections import Response
from hpcbox.image.transport import Transport, drop

_MAXIMUM_BYTES = 2**16


def codes(response: Response) -> list[tuple[str, str]]:
    """Read an answer's errors: (code, message) each (distribution-spec, "Error Codes")."""
    try:
        table = json.loads(response.read(_MAXIMUM_BYTES))
        found = [(str(item.get("code")), str(item.get("message"))) for item in table["errors"]]
    except (HTTPError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found = []
    drop(response)
    return found


def refusal(transport: Transport, response: Response, wanted: str, hint: str | None) -> ImageError:
    """Return the error for an answer that is no success; the answer is done with.

    Args:
        transport: where it came from.
        response: its body is unread.
        wanted: what was asked for, as `image REFERENCE`.
        hint: what to do when the registry has no such thing.
    """
    name, status = transport.place.name, response.status
    if status == 407:
        drop(response)
        return RegistryRefused(
            f"the proxy before registry {name} wants credentials (407)",
            hint="put them into its address, or into ~/.config/hpcbox/netrc as a machine",
        )
    said = codes(response)
    if status == 404:
        return ImageNotFound(f"registry {name} has no {wanted}", hint=hint)
    if status == 403:
        return transport.forbidden()
    why = f": {shorten(said[0][1], 120)}" if said else ""
    return RegistryUnreachable(f"registry {name} answers {status} to the request for {wanted}{why}")

"""The words between the writer of a node's store and the process that fetches for it.

    writer → fetcher   A  {"id", "ask": "resolve"}
                       A  {"id", "ask": "blob", "digest", "size", "media_type"}
                       A  {"id", "ask": "windows", …as blob…, "windows": [[offset, length], …]}
                       A  {"id", "ask": "failure", "of": id}   why a blob's pipe ended too early
                       T  {"tell": "progress", …} {"tell": "done", "digest"} {"tell": "error", …}
    fetcher → writer   R  {"id", "media_type", "registry", "repository", "reference"} + descriptor
                       R  {"id"} + read end of a pipe
                       R  {"id", "pieces": [hex, …]}
                       R  {"id", "error", "hint", "class", "code"}

JSON, one message a packet (packets.py), at most 64 KiB. Both sides check what they read: the two
belong to different accounts.
"""

import json
from typing import Any

from hpcbox import errors, packets
from hpcbox.errors import HpcboxError, ManifestInvalid

ASK, REPLY, TELL = b"A", b"R", b"T"
MAXIMUM_BYTES = 65536


def send(
    connection: packets.Socket,
    kind: bytes,
    message: dict[str, Any],
    descriptors: tuple[int, ...] = (),
) -> None:
    """Send one message.

    Raises:
        OSError: the other process has gone.
    """
    packets.send(connection, kind, json.dumps(message).encode(), descriptors)


def parse(payload: bytes) -> dict[str, Any]:
    """Return the message of a packet.

    Raises:
        ManifestInvalid: it is none.
    """
    try:
        message = json.loads(payload) if len(payload) <= MAXIMUM_BYTES else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ManifestInvalid("the other process of the pull sent something that is no message")
    return message


def error_fields(error: HpcboxError) -> dict[str, Any]:
    """Return the fields of a message that carry an error."""
    return {
        "error": error.message[:2000],
        "hint": error.hint,
        "class": type(error).__name__,
        "code": error.exit_code,
    }


def error_of(message: dict[str, Any]) -> HpcboxError:
    """Return the error that a message carries, as the class it had at the other end."""
    kind = getattr(errors, str(message.get("class")), None)
    if not (isinstance(kind, type) and issubclass(kind, HpcboxError)):
        kind = errors.ImageError
    if kind is errors.LayerRejected:
        # Its own constructor takes an entry and a reason; here the text is complete.
        kind = errors.ImageError
    hint = message.get("hint")
    return kind(str(message.get("error")), hint=hint if isinstance(hint, str) else None)

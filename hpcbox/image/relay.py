"""The fetching side of a relay: a process of the job's user that talks to the registry.

It holds the user's credentials and the network; the writer holds the store and has neither. The
writer asks, this side answers with descriptors: blobs go through pipes.
"""

import os
import threading
from dataclasses import fields as fields_of
from io import FileIO
from typing import Any

from hpcbox import packets
from hpcbox.errors import HpcboxError, ManifestInvalid, NodeSetupFailed
from hpcbox.image import relay_messages
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor
from hpcbox.image.progress import Progress, Report
from hpcbox.image.source import ByteStream, ImageSource

_PIECE_BYTES = 2**18


def serve(connection: packets.Socket, source: ImageSource, report: Report) -> str:
    """Fetch what the writer asks for until it is done; return the image's digest (`sha256:HEX`).

    Raises:
        HpcboxError: what the writer says went wrong.
        NodeSetupFailed: the writer died.
    """
    relay = _Relay(connection, source)
    while (packet := packets.receive(connection)) is not None:
        for descriptor in packet.descriptors:
            os.close(descriptor)
        message = relay_messages.parse(packet.payload)
        if packet.kind == relay_messages.ASK:
            # One thread for each question: a slow registry must not hold up the other layers.
            threading.Thread(target=relay.answer, args=(message,), daemon=True).start()
        elif message.get("tell") == "progress":
            report(_progress(message))
        elif message.get("tell") == "done":
            return str(message.get("digest"))
        elif message.get("tell") == "error":
            raise relay_messages.error_of(message)
    raise NodeSetupFailed("the process that writes the image to the store died")


class _Relay:
    def __init__(self, connection: packets.Socket, source: ImageSource) -> None:
        self._connection = connection
        self._source = source
        self._failures: dict[int, HpcboxError] = {}

    def answer(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        try:
            try:
                self._answer(number, message)
            except HpcboxError as error:
                self._reply({"id": number, **relay_messages.error_fields(error)})
            except (KeyError, TypeError, ValueError):
                refusal = ManifestInvalid("a question that is none")
                self._reply({"id": number, **relay_messages.error_fields(refusal)})
        except OSError:
            # The writer has gone, and with it the pull.
            return

    def _answer(self, number: Any, message: dict[str, Any]) -> None:
        ask = message.get("ask")
        if ask == "resolve":
            self._resolve(number)
        elif ask == "blob":
            self._blob(number, _descriptor(message))
        elif ask == "windows":
            windows = [(int(offset), int(length)) for offset, length in message["windows"]]
            pieces = self._source.read_windows(_descriptor(message), windows)
            self._reply({"id": number, "pieces": [piece.hex() for piece in pieces]})
        elif ask == "failure":
            failure = self._failures.get(int(message["of"]))
            fields = relay_messages.error_fields(failure) if failure else {}
            self._reply({"id": number, **fields})

    def _resolve(self, number: Any) -> None:
        resolved = self._source.resolve()
        body = os.memfd_create("manifest", os.MFD_CLOEXEC)
        try:
            os.write(body, resolved.body)
            fields = {
                "id": number,
                "media_type": resolved.media_type,
                "registry": resolved.registry,
                "repository": resolved.repository,
                "reference": resolved.reference,
            }
            self._reply(fields, body)
        finally:
            os.close(body)

    def _blob(self, number: Any, descriptor: Descriptor) -> None:
        stream = self._source.open_blob(descriptor)
        try:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            with open(write_end, "wb", buffering=0) as pipe:
                self._reply({"id": number}, read_end)
                os.close(read_end)
                try:
                    _pump(stream, pipe)
                except HpcboxError as error:
                    # Noted before the pipe ends: then the writer will ask why it ended so early.
                    self._failures[int(number)] = error
        finally:
            stream.close()

    def _reply(self, fields: dict[str, Any], *descriptors: int) -> None:
        relay_messages.send(self._connection, relay_messages.REPLY, fields, descriptors)


def _pump(stream: ByteStream, pipe: FileIO) -> None:
    while piece := stream.read(_PIECE_BYTES):
        written = pipe.write(piece)
        while written < len(piece):
            written += pipe.write(piece[written:])


def _descriptor(message: dict[str, Any]) -> Descriptor:
    size = message.get("size")
    if not isinstance(size, int):
        raise ManifestInvalid("a question for a blob without a size")
    return Descriptor(str(message.get("media_type")), Digest.parse(message.get("digest")), size)


def _progress(message: dict[str, Any]) -> Progress:
    kinds = {item.name: type(item.default) for item in fields_of(Progress)}
    numbers = {
        name: kind(message.get(name, 0)) for name, kind in kinds.items() if kind in (int, float)
    }
    return Progress(str(message["phase"]), str(message["image"]), **numbers)

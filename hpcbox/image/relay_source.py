"""The writing side of a relay: a source of images that asks another process for everything.

That process belongs to the job's user, so nothing it says is believed: bytes count by their
digests, and what is no answer ends the pull.
"""

import _socket
import contextlib
import os
import queue
import select
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hpcbox import packets
from hpcbox.errors import HpcboxError, ManifestInvalid, RegistryUnreachable
from hpcbox.image import relay_messages
from hpcbox.image.manifest import MAXIMUM_BYTES, Descriptor
from hpcbox.image.progress import Progress
from hpcbox.image.source import ByteStream, Resolved

_POLL_MILLISECONDS = 500

_Answer = tuple[dict[str, Any], list[int]]


class RelaySource:
    """An image that the process at the other end of a connection fetches."""

    def __init__(self, connection: packets.Socket) -> None:
        self._connection = connection
        self._answers: dict[int, queue.SimpleQueue[_Answer | None]] = {}
        self._ended = False
        self._next_id = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._receive, name="relay", daemon=True).start()

    def resolve(self) -> Resolved:
        """Ask for the manifest.

        Raises:
            HpcboxError: as the other process raised it.
            RegistryUnreachable: that process died.
        """
        message, descriptors = self._ask({"ask": "resolve"}, expected=1)
        with open(descriptors[0], "rb", buffering=0) as file:
            # The other process has written at the same offset.
            body = os.pread(file.fileno(), MAXIMUM_BYTES + 1, 0)
        names = ("media_type", "registry", "repository", "reference")
        texts = [message.get(name) for name in names]
        if not all(isinstance(text, str) and len(text) <= 2048 for text in texts):
            raise ManifestInvalid(
                "the fetching process answered with something that is no manifest"
            )
        return Resolved(body, *map(str, texts))

    def open_blob(self, descriptor: Descriptor) -> ByteStream:
        """Ask for a blob; raises as `resolve` does."""
        message, descriptors = self._ask({"ask": "blob", **_fields(descriptor)}, expected=1)
        return _Pipe(self, int(message["id"]), descriptors[0], descriptor.size_bytes)

    def read_windows(
        self, descriptor: Descriptor, windows: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Ask for pieces of a blob; raises as `resolve` does."""
        asked = {"ask": "windows", "windows": [list(window) for window in windows]}
        message, _ = self._ask({**asked, **_fields(descriptor)}, expected=0)
        try:
            return [bytes.fromhex(piece) for piece in message["pieces"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestInvalid("the fetching process gave no pieces") from error

    def failure_of(self, blob_id: int) -> HpcboxError | None:
        """Ask why the pipe of a blob ended before its size; None when nothing is known."""
        try:
            self._ask({"ask": "failure", "of": blob_id}, expected=0)
        except HpcboxError as error:
            return error
        return None

    def tell_progress(self, progress: Progress) -> None:
        """Say how far the pull is; the other process shows it."""
        self._tell({"tell": "progress", **asdict(progress)})

    def tell_done(self, digest: str) -> None:
        """Say that the image is in the store."""
        self._tell({"tell": "done", "digest": digest})

    def tell_error(self, error: HpcboxError) -> None:
        """Say why it is not."""
        fields = {**relay_messages.error_fields(error), "error": error.message[:2000]}
        self._tell({"tell": "error", **fields})

    def close(self) -> None:
        """End the talk; what was told before still reaches the other process."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(_socket.SHUT_RDWR)

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            relay_messages.send(self._connection, relay_messages.TELL, message)
        except OSError:
            # Nobody is there to hear it; the pull itself ends with its next question.
            return

    def _ask(self, message: dict[str, Any], *, expected: int) -> _Answer:
        answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        with self._lock:
            self._next_id += 1
            number = self._next_id
            self._answers[number] = answers
        try:
            if not self._ended:
                asked = {"id": number, **message}
                relay_messages.send(self._connection, relay_messages.ASK, asked)
        except OSError:
            answers.put(None)
        if self._ended:
            answers.put(None)
        answer = answers.get()
        del self._answers[number]
        if answer is None:
            raise RegistryUnreachable("the process that fetches the image died")
        reply, descriptors = answer
        if "error" not in reply and len(descriptors) == expected:
            return {**reply, "id": number}, descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        if "error" in reply:
            raise relay_messages.error_of(reply)
        raise ManifestInvalid("the fetching process answered with something that was not asked for")

    def _receive(self) -> None:
        try:
            while (packet := packets.receive(self._connection)) is not None:
                message = relay_messages.parse(packet.payload)
                number = message.get("id")
                waiting = self._answers.get(number) if isinstance(number, int) else None
                if waiting is None:
                    for descriptor in packet.descriptors:
                        os.close(descriptor)
                else:
                    waiting.put((message, packet.descriptors))
        except (OSError, HpcboxError):
            pass
        self._ended = True
        for waiting in list(self._answers.values()):
            waiting.put(None)


class _Pipe:
    def __init__(self, source: RelaySource, blob_id: int, descriptor: int, size: int) -> None:
        self._source = source
        self._blob_id = blob_id
        self._descriptor = descriptor
        self._missing = size
        self._closed = False
        self._aborted = False
        self._readable = select.poll()
        self._readable.register(descriptor, select.POLLIN)

    def read(self, size: int) -> bytes:
        # A blocking read of a pipe could be ended by nothing.
        while not self._readable.poll(_POLL_MILLISECONDS):
            if self._aborted:
                return b""
        piece = os.read(self._descriptor, size)
        self._missing -= len(piece)
        if not piece and self._missing > 0:
            failure = self._source.failure_of(self._blob_id)
            if failure is not None:
                raise failure
        return piece

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)

    def abort(self) -> None:
        self._aborted = True


def _fields(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "digest": str(descriptor.digest),
        "size": descriptor.size_bytes,
        "media_type": descriptor.media_type,
    }

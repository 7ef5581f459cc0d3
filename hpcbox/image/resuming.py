"""Bytes of a blob that come to their end although connections don't: cut transfers go on.

A new request asks for what is missing (RFC 9110, 14: Range, If-Range, Content-Range). From a
registry that knows no ranges the blob comes from its start again, and what is here already is
skipped. Nothing is believed: the reader's digest covers every byte.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from urllib3.exceptions import HTTPError, ReadTimeoutError

from hpcbox.errors import RegistryUnreachable
from hpcbox.image.connections import Response
from hpcbox.image.progress import size_text
from hpcbox.image.retrying import Patience
from hpcbox.image.transport import Transport, drop

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")
_SMALLEST_PIECE, _LARGEST_PIECE = 2**14, 2**18
_SLOW_SECONDS, _FAST_SECONDS = 1.0, 0.2


class Opened(NamedTuple):
    """An answer, and the place that gave it."""

    transport: Transport
    response: Response


Open = Callable[[Mapping[str, str], Patience, Transport | None], Opened]
"""Asks for the blob with these headers; the last place is the one that has just failed."""


class ResumingStream:
    """The bytes from `first` to before `end` of a blob, as a ByteStream."""

    def __init__(self, transport: Transport, begin: Open, first: int, end: int) -> None:
        """Ask for the bytes.

        Raises:
            ImageError: the blob does not exist, may not be had, or nobody answers.
        """
        self._begin = begin
        self._position = first
        self._end = end
        self._whole = first == 0
        self._aborted = threading.Event()
        self._patience = transport.patience(self._aborted.wait)
        self._piece = _LARGEST_PIECE
        self._validator = ""
        self._transport = transport
        try:
            self._response = self._opened(None)
        except HTTPError as error:
            self._resume(self._explained(error))

    def read(self, size: int) -> bytes:
        """Return the next bytes; none at the end, or when the registry has no more.

        Raises:
            ImageError: they can't be had, after all new attempts.
        """
        while True:
            try:
                return self._read(size)
            except HTTPError as error:
                self.close()
                self._resume(self._explained(error))

    def abort(self) -> None:
        """End a read or a wait that another thread is in."""
        self._aborted.set()
        # It may have been read to its end just now: then there is nothing to shut down.
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    def close(self) -> None:
        """Give back the connection."""
        # A body that was read to its end has given back its connection already.
        self._response.close()
        self._response.release_conn()

    def _read(self, size: int) -> bytes:
        if self._position >= self._end:
            return self._surplus()
        began = time.monotonic()
        wanted = min(size, self._piece, self._end - self._position)
        piece = self._response.read(wanted, decode_content=False)
        self._adapt(time.monotonic() - began)
        if not piece and not _is_framed(self._response):
            # The connection's end was to be the body's end, but the body is longer.
            raise HTTPError(f"it ended after {self._position} of {self._end} bytes")
        self._position += len(piece)
        self._patience.progressed(len(piece))
        return piece

    def _surplus(self) -> bytes:
        """Return more than was promised, if there is more, so that the reader finds it wrong."""
        if not self._whole or self._response.status == 206:
            return b""
        with contextlib.suppress(HTTPError):
            return self._response.read(1, decode_content=False)
        return b""

    def _adapt(self, seconds: float) -> None:
        # urllib3 returns when a piece is full: small ones let a slow transfer be seen to move,
        # large ones cost less.
        if seconds > _SLOW_SECONDS:
            self._piece = max(self._piece // 2, _SMALLEST_PIECE)
        elif seconds < _FAST_SECONDS:
            self._piece = min(self._piece * 2, _LARGEST_PIECE)

    def _resume(self, failure: RegistryUnreachable) -> None:
        while True:
            self._check()
            self._patience.wait(failure)
            self._check()
            try:
                self._response = self._opened(self._transport)
            except HTTPError as error:
                failure = self._explained(error)
            else:
                self._check()
                return

    def _explained(self, error: HTTPError) -> RegistryUnreachable:
        if isinstance(error, ReadTimeoutError):
            return self._transport.explained(error)
        name, whole = self._transport.place.name, size_text(self._end)
        return RegistryUnreachable(
            f"registry {name} cut a transfer after {size_text(self._position)} of {whole}",
            hint="try again later",
        )

    def _check(self) -> None:
        if self._aborted.is_set():
            raise RegistryUnreachable("the transfer was ended")

    def _opened(self, failed: Transport | None) -> Response:
        """Return an answer whose next byte is the one at this position."""
        headers = {}
        if self._position or not self._whole:
            headers["Range"] = f"bytes={self._position}-{self._end - 1}"
            if self._validator:
                headers["If-Range"] = self._validator
        opened = self._begin(headers, self._patience, failed)
        status = opened.response.status
        if status == 416 or (status == 206 and _first_byte(opened.response) != self._position):
            # Another range than the one that was asked for, or none: it must work without.
            drop(opened.response)
            opened = self._begin({}, self._patience, failed)
        self._transport, response = opened
        etag = response.headers.get("ETag", "")
        self._validator = etag if etag.startswith('"') and etag.isascii() else ""
        if response.status != 206:
            try:
                self._skip(response)
            except HTTPError:
                response.close()
                raise
        return response

    def _skip(self, response: Response) -> None:
        missing = self._position
        while missing:
            skipped = len(response.read(min(missing, _LARGEST_PIECE), decode_content=False))
            if not skipped:
                raise HTTPError(f"it ended {missing} bytes before where it was cut")
            missing -= skipped


def _is_framed(response: Response) -> bool:
    # Then urllib3 itself tells a body that is too short from one that has ended.
    headers = response.headers
    return "Content-Length" in headers or "Transfer-Encoding" in headers


def _first_byte(response: Response) -> int | None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return int(match[1]) if match else None

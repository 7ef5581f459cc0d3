"""A registry that misbehaves on request: a real HTTP server in this process.

It answers like a registry for what was pushed into it; a test adds faults by path.
"""

import hashlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

Alter = Callable[[bytes], bytes]
Guard = Callable[[str, dict[str, str]], dict[str, str] | None]
Choose = Callable[[str, str, tuple[bytes, str]], tuple[bytes, str] | None]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the answers to one path.

    Attributes:
        status: answered instead of 200.
        headers: added to the answer.
        alter: makes the bytes that are sent of the right ones.
        cut_after: bytes after which the connection is closed.
        stall_after: bytes after which nothing more is sent until the registry stops.
        reset: end a cut connection by a reset.
        length: Content-Length in place of the true one.
        trickle: bytes a second from then on that a slow connection brings.
        times: how many requests it spoils; afterwards all is well. None: all.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    alter: Alter | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    reset: bool = False
    length: int | None = None
    trickle: int | None = None
    times: int | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_request: object) -> None:
        """Say nothing: clients that hang up are what tests make here."""


class BadRegistry:
    """See the module; by default on loopback and a free port.

    Attributes:
        guard: looks at path and headers of each request; what it returns are the headers of an
            answer 401.
        choose: looks at path, Accept header and stored content; returns what is sent instead,
            None for 404.
        received: path and headers of every request.
        sent: bytes of bodies, by path.
        posted: path and body of every POST.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        knows_ranges: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._contents: dict[str, tuple[bytes, str]] = {}
        self._faults: list[tuple[re.Pattern[str], Fault]] = []
        self._used: dict[int, int] = {}
        self._stopped = threading.Event()
        self._knows_ranges = knows_ranges
        self.guard: Guard | None = None
        self.choose: Choose | None = None
        self.received: list[tuple[str, dict[str, str]]] = []
        self.sent: dict[str, int] = {}
        self.posted: list[tuple[str, str]] = []
        self._server = _Server((host, port), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def address(self) -> str:
        """HOST:PORT."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def push_blob(self, repository: str, data: bytes) -> str:
        """Store a blob."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._contents[f"/v2/{repository}/blobs/{digest}"] = (data, "application/octet-stream")
        return digest

    def push_manifest(self, repository: str, tag: str, body: bytes, media_type: str) -> str:
        """Store a manifest."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        for target in (tag, digest):
            self._contents[f"/v2/{repository}/manifests/{target}"] = (body, media_type)
        return digest

    def spoil(self, path: str, fault: Fault) -> None:
        """Add a fault for the paths that this expression finds."""
        self._faults.append((re.compile(path), fault))

    def paths(self) -> list[str]:
        """Return the paths that were asked for, in their order."""
        return [path for path, _ in self.received]

    def serve(self, path: str, body: bytes, media_type: str = "application/json") -> None:
        """Answer a path with these bytes."""
        self._contents[path] = (body, media_type)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        headers = dict(request.headers.items())
        self.received.append((request.path, headers))
        challenge = self.guard(request.path, headers) if self.guard else None
        fault = Fault() if challenge else self._fault(request.path)
        content, media_type = self._content(request.path, headers)
        status = fault.status if fault.status != 200 or media_type else 404
        if challenge:
            status, content = 401, b""
        body = fault.alter(content) if fault.alter else content
        first = self._first(headers) if status == 200 else 0
        if first:
            status = 206
            request.send_response(status)
            request.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(status)
        for name, value in (challenge or fault.headers).items():
            request.send_header(name, value)
        if media_type:
            request.send_header("Content-Type", media_type)
        self._send(request, fault, body[first:])

    def _send(self, request: BaseHTTPRequestHandler, fault: Fault, body: bytes) -> None:
        length = len(body) if fault.length is None else fault.length
        request.send_header("Content-Length", str(length))
        request.end_headers()
        limit = fault.cut_after if fault.cut_after is not None else fault.stall_after
        self.sent[request.path] = self.sent.get(request.path, 0) + len(body[:limit])
        self._write(request, body[:limit], fault)
        if fault.stall_after is not None:
            self._stopped.wait(120)
        if limit is not None or length != len(body):
            request.close_connection = True
        if fault.reset:
            # Closing with this linger time sends a reset.
            linger = struct.pack("ii", 1, 0)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _content(self, path: str, headers: dict[str, str]) -> tuple[bytes, str]:
        found = self._contents.get(path, (b"", ""))
        if self.choose is not None and found[1]:
            found = self.choose(path, headers.get("Accept", ""), found) or (b"", "")
        return found

    def _first(self, headers: dict[str, str]) -> int:
        match = re.fullmatch(r"bytes=(\d+)-\d*", headers.get("Range", ""))
        return int(match[1]) if match and self._knows_ranges else 0

    def _write(self, request: BaseHTTPRequestHandler, body: bytes, fault: Fault) -> None:
        step = len(body) if fault.trickle is None else max(fault.trickle // 10, 1)
        for start in range(0, len(body), max(step, 1)):
            request.wfile.write(body[start : start + step])
            request.wfile.flush()
            if fault.trickle is not None and self._stopped.wait(0.1):
                # As the kernel does for a process that ends.
                request.close_connection = True
                return

    def _fault(self, path: str) -> Fault:
        for pattern, fault in self._faults:
            used = self._used.get(id(fault), 0)
            if pattern.search(path) and (fault.times is None or used < fault.times):
                self._used[id(fault)] = used + 1
                return fault
        return Fault()


def _handler(registry: BadRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry._answer(self)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            registry.posted.append((self.path, body.decode()))
            registry._answer(self)

        def log_message(self, *_words: object) -> None:
            """Stay silent."""

    return Handler

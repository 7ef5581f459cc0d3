"""A registry that misbehaves on request: a real HTTP server in this process.

It answers like a registry for what was pushed into it; a test adds faults by path.
"""

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

Alter = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the answers to one path.

    Attributes:
        status: answered instead of 200.
        headers: added to the answer.
        alter: makes the bytes that are sent of the right ones.
        cut_after: bytes after which the connection is closed.
        stall_after: bytes after which nothing more is sent until the registry stops.
        trickle: bytes a second from then on that a slow connection brings.
        times: how many requests it spoils; afterwards all is well. None: all.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    alter: Alter | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    trickle: int | None = None
    times: int | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_request: object) -> None:
        """Say nothing: clients that hang up are what tests make here."""


class BadRegistry:
    """See the module; by default on loopback and a free port."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._contents: dict[str, tuple[bytes, str]] = {}
        self._faults: list[tuple[re.Pattern[str], Fault]] = []
        self._used: dict[int, int] = {}
        self._stopped = threading.Event()
        self.received: list[tuple[str, dict[str, str]]] = []
        self._server = _Server((host, port), _handler(self))
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

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.received.append((request.path, dict(request.headers.items())))
        content, media_type = self._contents.get(request.path, (b"", ""))
        fault = self._fault(request.path)
        status = fault.status if fault.status != 200 or media_type else 404
        body = fault.alter(content) if fault.alter else content
        request.send_response(status)
        for name, value in fault.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Type", media_type)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        limit = fault.cut_after if fault.cut_after is not None else fault.stall_after
        self._send(request, body[:limit], fault)
        if fault.stall_after is not None:
            self._stopped.wait(120)
        if limit is not None:
            request.close_connection = True

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, fault: Fault) -> None:
        step = len(body) if fault.trickle is None else max(fault.trickle // 10, 1)
        for start in range(0, len(body), max(step, 1)):
            request.wfile.write(body[start : start + step])
            request.wfile.flush()
            if fault.trickle is not None and self._stopped.wait(0.1):
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

        def log_message(self, *_words: object) -> None:
            """Stay silent."""

    return Handler

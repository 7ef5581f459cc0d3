"""An HTTP proxy: CONNECT, and requests with a whole address; with a password if wanted."""

import base64
import http.client
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_request: object) -> None:
        """Say nothing: clients hang up."""


class HttpProxy:
    """See the module; `used` has method and target of every request that it let through."""

    def __init__(self, credentials: tuple[str, str] | None = None) -> None:
        pair = ":".join(credentials or ("", "")).encode()
        self._expected = f"Basic {base64.b64encode(pair).decode()}" if credentials else None
        self.used: list[str] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def admits(self, request: BaseHTTPRequestHandler) -> bool:
        """Tell whether a request may pass; answers it if not."""
        given = request.headers.get("Proxy-Authorization")
        if self._expected is not None and given != self._expected:
            request.send_response(407)
            request.send_header("Proxy-Authenticate", "Basic realm=proxy")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return False
        self.used.append(f"{request.command} {request.path}")
        return True


def _handler(proxy: HttpProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            if not proxy.admits(self):
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), 5) as there:
                self.send_response(200)
                self.end_headers()
                _join(self.connection, there)
            self.close_connection = True

        def do_GET(self) -> None:
            if not proxy.admits(self):
                return
            parts = urlsplit(self.path)
            connection = http.client.HTTPConnection(parts.netloc, timeout=5)
            headers = {
                name: value
                for name, value in self.headers.items()
                if not name.lower().startswith("proxy-")
            }
            connection.request("GET", parts._replace(scheme="", netloc="").geturl(), None, headers)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Stay silent."""

    return Handler


def _join(here: socket.socket, there: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([here, there], [], [], 30)
        for side in ready:
            data = side.recv(65536)
            if not data:
                return
            (there if side is here else here).sendall(data)
        if not ready:
            return

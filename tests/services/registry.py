"""The real docker-registry as a service for tests and scripts.

with Registry(tmp_path) as registry:
    digest = registry.push_blob("alice/tool", b"…")
    print(registry.address, registry.requests())
"""

import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, TypeAlias

_Blob: TypeAlias = io.BytesIO | io.BufferedReader
_START_SECONDS = 15.0
_ACCESS = re.compile(r'"(GET|HEAD|PUT|POST|PATCH|DELETE) (\S+) HTTP/[\d.]+" (\d{3})')


class Registry:
    """A docker-registry process with its storage below `root`, for the length of a with block.

    With `credentials` (name, password) it takes nobody without them. `tls` and `token` are its
    settings http.tls and auth.token; then `authority` (a PEM file) is what pushing trusts, and
    `bearer` makes the token for pushing to a repository.
    """

    def __init__(
        self,
        root: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        credentials: tuple[str, str] | None = None,
        tls: Mapping[str, object] | None = None,
        token: Mapping[str, object] | None = None,
        authority: str | None = None,
        bearer: Callable[[str], str] | None = None,
    ) -> None:
        self._root = root
        self._host = address
        self._port = port
        self._credentials = credentials
        self._tls = tls
        self._token = token
        self._authority = authority
        self._bearer = bearer
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self._host}:{self._port}"

    @property
    def log(self) -> Path:
        """The file with everything that the registry prints."""
        return self._root / "registry.log"

    def __enter__(self) -> Self:
        self._root.mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            port = self._port or _free_port(self._host)
            if self._start(port):
                self._port = port
                return self
        raise RuntimeError(f"docker-registry does not start: {self.log.read_text()[-2000:]}")

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the registry; a second call does nothing."""
        if self._process is None:
            return
        os.kill(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def push_blob(self, repository: str, data: bytes | Path) -> str:
        """Upload a blob and return its digest."""
        with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as content:
            return self._push_blob(repository, content)

    def _push_blob(self, repository: str, content: _Blob) -> str:
        digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
        size_bytes = content.seek(0, os.SEEK_END)
        content.seek(0)
        status, headers = self._request("POST", f"/v2/{repository}/blobs/uploads/")
        location = headers["Location"]
        path = location[location.index("/v2/") :]
        joint = "&" if "?" in path else "?"
        status, _ = self._request(
            "PUT",
            f"{path}{joint}digest={digest}",
            content,
            {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)},
        )
        if status != 201:
            raise RuntimeError(f"blob refused: {status}")
        return digest

    def push_manifest(self, repository: str, tag: str, body: bytes, media_type: str) -> str:
        """Upload a manifest or index under a tag and return its digest."""
        status, _ = self._request(
            "PUT", f"/v2/{repository}/manifests/{tag}", body, {"Content-Type": media_type}
        )
        if status != 201:
            raise RuntimeError(f"manifest refused: {status}")
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def requests(self) -> list[str]:
        """Return its access log: `METHOD PATH STATUS` each."""
        return [" ".join(match) for match in _ACCESS.findall(self.log.read_text())]

    def blob_path(self, digest: str) -> Path:
        """Return the file in which the registry keeps a blob: for tests that spoil it."""
        hexdigits = digest.removeprefix("sha256:")
        return (
            self._root
            / "storage/docker/registry/v2/blobs/sha256"
            / hexdigits[:2]
            / hexdigits
            / "data"
        )

    def _start(self, port: int) -> bool:
        config = self._root / "config.yml"
        config.write_text(json.dumps(self._settings(port)))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection((self._host, port), 1):
                    return True
            except OSError:
                # The one wait without an event: a foreign process says nothing when it listens.
                time.sleep(0.02)
        self.stop()
        return False

    def _settings(self, port: int) -> dict[str, object]:
        # JSON is YAML.
        settings: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._root / "storage")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"{self._host}:{port}"},
        }
        if self._tls is not None:
            settings["http"] = {"addr": f"{self._host}:{port}", "tls": dict(self._tls)}
        if self._token is not None:
            settings["auth"] = {"token": dict(self._token)}
        if self._credentials is not None:
            path = self._write_passwords(*self._credentials)
            settings["auth"] = {"htpasswd": {"realm": "test", "path": str(path)}}
        return settings

    def _write_passwords(self, name: str, password: str) -> Path:
        # The registry takes bcrypt only.
        words = ["htpasswd", "-Bbn", name, password]
        entry = subprocess.run(words, capture_output=True, check=True).stdout
        path = self._root / "htpasswd"
        path.write_bytes(entry)
        return path

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | _Blob | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage]:
        connection = self._connection()
        sent = dict(headers or {})
        if self._bearer is not None:
            repository = re.sub(r"^/v2/|/(?:blobs|manifests)/.*", "", path)
            sent["Authorization"] = f"Bearer {self._bearer(repository)}"
        if self._credentials is not None:
            pair = ":".join(self._credentials).encode()
            sent["Authorization"] = f"Basic {b64encode(pair).decode()}"
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {answer[:500]!r}")
        return response.status, response.headers

    def _connection(self) -> http.client.HTTPConnection:
        if self._authority is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=30)
        context = ssl.create_default_context(cafile=self._authority)
        return http.client.HTTPSConnection(self._host, self._port, timeout=30, context=context)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])

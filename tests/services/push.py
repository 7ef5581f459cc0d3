"""A registry over the cached images while they are being pushed."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import subprocess
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from tests.services.commands import listens, wait_until
from tests.services.failure import LabError

if TYPE_CHECKING:
    from pathlib import Path

BYTES = "application/octet-stream"


class PushRegistry:
    """The real docker-registry on a free port of this machine, for the length of a with block.

    Attributes:
        address: HOST:PORT.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def __enter__(self) -> Self:
        """Start it; raises LabError if it doesn't answer."""
        self._root.mkdir(parents=True, exist_ok=True)
        config = self._root.with_name("push-registry.yml")
        config.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {self._root}\n"
            f"http:\n  addr: 127.0.0.1:{self.port}\n"
        )
        self._process = subprocess.Popen(
            ["docker-registry", "serve", os.fspath(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        answers = lambda: listens("127.0.0.1", self.port)  # noqa: E731
        wait_until(answers, timeout_seconds=10, what="the registry for pushing answers")
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()

    def _ask(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            status, location = answer.status, answer.headers.get("Location", "")
        finally:
            connection.close()
        if status >= HTTPStatus.BAD_REQUEST and status != HTTPStatus.NOT_FOUND:
            raise LabError(f"the registry answers {method} {path} with {status}: {text.strip()}")
        return status, location.partition(str(self.port))[2]

    def push_blob(self, repository: str, data: bytes | Path) -> str:
        """Store a blob unless it is there; returns its digest."""
        body = data if isinstance(data, bytes) else data.read_bytes()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        blobs = f"/v2/{repository}/blobs"
        if self._ask("HEAD", f"{blobs}/{digest}", b"", BYTES)[0] == HTTPStatus.NOT_FOUND:
            _, upload = self._ask("POST", f"{blobs}/uploads/", b"", BYTES)
            self._ask("PUT", f"{upload}&digest={digest}", body, BYTES)
        return digest

    def push_manifest(self, repository: str, tag: str, body: bytes, media_type: str) -> str:
        """Store a manifest under a tag; returns its digest."""
        self._ask("PUT", f"/v2/{repository}/manifests/{tag}", body, media_type)
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

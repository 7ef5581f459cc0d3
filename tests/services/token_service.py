"""A token service for docker-registry (distribution's "Token Authentication Specification").

with TokenService(tmp_path) as service, Registry(root, token=service.settings()) as registry: …
"""

import base64
import json
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.services.authority import Authority

NAME = "hpcbox test tokens"
ALICE = ("alice", "s3cret")
REFRESH_TOKEN = "r3fresh"


class TokenService:
    """Gives tokens for what is asked: everything to alice, and to others what is public."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder, "tokens")
        self._pair = authority.certificate("signer")
        self._authority = authority.file
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.asked: list[tuple[str, str]] = []

    @property
    def realm(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def settings(self) -> dict[str, object]:
        """What docker-registry's auth.token must say."""
        return {
            "realm": self.realm,
            "service": NAME,
            "issuer": NAME,
            "rootcertbundle": str(self._authority),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, repository: str, actions: Sequence[str] = ("pull", "push")) -> str:
        """Return a token for a repository."""
        access = [{"type": "repository", "name": repository, "actions": list(actions)}]
        return self._signed("pusher", access if repository else [])

    def answer(self, authorization: str, scopes: list[str], refresh: str | None) -> str | None:
        """Return the token for a question, or None when the credentials are wrong."""
        expected = "Basic " + base64.b64encode(":".join(ALICE).encode()).decode()
        known = refresh == REFRESH_TOKEN if refresh is not None else authorization == expected
        if (authorization or refresh) and not known:
            return None
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if known or name.startswith("public/"):
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        return self._signed("alice" if known else "", access)

    def _signed(self, subject: str, access: Sequence[Mapping[str, object]]) -> str:
        now = int(time.time())
        certificate = x509.load_pem_x509_certificate(self._pair.certificate.read_bytes())
        chain = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        head = {"typ": "JWT", "alg": "ES256", "x5c": [chain]}
        claims = {
            "iss": NAME, "sub": subject, "aud": NAME, "exp": now + 300, "nbf": now - 10,
            "iat": now, "jti": str(time.time_ns()), "access": access,
        }  # fmt: skip
        text = f"{_packed(json.dumps(head).encode())}.{_packed(json.dumps(claims).encode())}"
        key = serialization.load_pem_private_key(self._pair.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        first, second = utils.decode_dss_signature(
            key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        )
        return f"{text}.{_packed(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _handler(service: TokenService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self._answer(query.get("scope", []), None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fields = parse_qs(body)
            scopes = [one for text in fields.get("scope", []) for one in text.split()]
            self._answer(scopes, fields["refresh_token"][0])

        def _answer(self, scopes: list[str], refresh: str | None) -> None:
            service.asked.append((self.command, " ".join(scopes)))
            token = service.answer(self.headers.get("Authorization", ""), scopes, refresh)
            name = "access_token" if refresh else "token"
            self.send_response(200 if token else 401)
            self.end_headers()
            self.wfile.write(json.dumps({name: token} if token else {}).encode())

        def log_message(self, *_words: object) -> None:
            """Stay silent."""

    return Handler

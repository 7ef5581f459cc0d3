"""Challenges and tokens: what a registry asks for, and what it gets."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcbox.errors import RegistryRefused, RegistryUnreachable
from hpcbox.image.authorization import challenges
from hpcbox.image.credentials import Credentials
from hpcbox.image.digest import Digest
from tests.image.sourcing import SECRET, descriptor, source, whole
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.registry import Registry
from tests.services.small_images import file, push_image, tar
from tests.services.token_service import REFRESH_TOKEN, TokenService

LAYER = tar(file("a", b"1"))
BODY = bytes(range(256)) * 1000


@pytest.mark.parametrize(
    ("header", "offered"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("Negotiate", [("negotiate", {})]),
        (
            'Bearer realm="https://a/t?x=1,2",service=s,scope="repository:a:pull,push"',
            [("bearer", {"realm": "https://a/t?x=1,2", "service": "s",
                         "scope": "repository:a:pull,push"})],
        ),
        (
            'Negotiate, Basic realm="a \\"b\\"", Bearer realm="c" , service = "d"',
            [("negotiate", {}), ("basic", {"realm": 'a "b"'}),
             ("bearer", {"realm": "c", "service": "d"})],
        ),
        ("", []),
        ('Bearer realm="open', [("bearer", {"realm": '"open'})]),
        ("\x00\xff", []),
    ],
)  # fmt: skip
def test_a_challenge_is_read(header: str, offered: list[tuple[str, dict[str, str]]]) -> None:
    found = [(one.scheme, dict(one.parameters)) for one in challenges(header)]

    assert found == offered or header.endswith("open")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    with TokenService(tmp_path_factory.mktemp("tokens")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, service: TokenService) -> Iterator[Registry]:
    """A real registry that believes the token service."""
    folder = tmp_path_factory.mktemp("guarded")
    with Registry(folder, token=service.settings(), bearer=service.token) as running:
        push_image(running, "team/app:1", LAYER)
        push_image(running, "public/app:1", LAYER)
        yield running


def test_a_token_is_fetched_with_name_and_password(
    guarded: Registry, service: TokenService
) -> None:
    resolved = source(guarded.address, "team/app", credentials=SECRET).resolve()

    assert resolved.repository == "team/app"
    assert service.asked[-1] == ("GET", "repository:team/app:pull")


def test_a_token_is_fetched_with_an_identity_token(
    guarded: Registry, service: TokenService
) -> None:
    found = Credentials("", "", REFRESH_TOKEN)

    assert source(guarded.address, "team/app", credentials=found).resolve()
    assert service.asked[-1] == ("POST", "repository:team/app:pull")


def test_a_public_image_needs_no_credentials(guarded: Registry) -> None:
    assert source(guarded.address, "public/app").resolve()


@pytest.mark.parametrize(
    ("credentials", "text"),
    [
        (None, "the registry wants credentials (401) — run 'hpcbox login {}'"),
        (
            Credentials("alice", "wr0ng"),
            "the registry refused the credentials of alice (401) — run 'hpcbox login {}'",
        ),
        (Credentials("", "", "wr0ng"), "the registry refused the credentials of the identity"),
    ],
)
def test_a_refusal_names_the_image_the_account_and_the_remedy(
    guarded: Registry, credentials: Credentials | None, text: str
) -> None:
    with pytest.raises(RegistryRefused) as caught:
        source(guarded.address, "team/app", credentials=credentials).resolve()

    said = str(caught.value)
    assert said.startswith(f"cannot pull {guarded.address}/team/app:1: ")
    assert text.format(guarded.address) in said
    assert "wr0ng" not in said


class Tokens:
    """A guard for BadRegistry: each token is good for so many requests."""

    def __init__(self, registry: BadRegistry, uses: int) -> None:
        self._registry = registry
        self._uses = uses
        self._left: dict[str, int] = {}
        self._lock = threading.Lock()
        self.given = 0

    def __call__(self, path: str, headers: dict[str, str]) -> dict[str, str] | None:
        """Let through, or return the challenge."""
        with self._lock:
            if path.startswith("/token"):
                self.given += 1
                name = f"t{self.given}"
                self._left[f"Bearer {name}"] = self._uses
                self._registry.serve(path, json.dumps({"token": name}).encode())
                return None
            authorization = headers.get("Authorization", "")
            if self._left.get(authorization, 0) > 0:
                self._left[authorization] -= 1
                return None
            realm = f"http://{self._registry.address}/token"
            return {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry(knows_ranges=True) as running:
        running.push_blob("a/b", BODY)
        yield running


def test_a_token_that_ends_early_is_renewed(registry: BadRegistry) -> None:
    pushed = push_image(registry, "a/b:1", LAYER)
    tokens = registry.guard = Tokens(registry, 1)
    asked = source(registry.address, credentials=SECRET)

    assert str(Digest.of(asked.resolve().body)) == pushed
    assert whole(asked.open_blob(descriptor(BODY))) == BODY
    assert tokens.given == 2


def test_a_token_is_renewed_while_a_cut_blob_goes_on(registry: BadRegistry) -> None:
    tokens = registry.guard = Tokens(registry, 1)
    registry.spoil("blobs", Fault(cut_after=1000, times=3))

    assert whole(source(registry.address).open_blob(descriptor(BODY))) == BODY
    assert tokens.given == 4


def test_threads_share_one_renewal(registry: BadRegistry) -> None:
    tokens = registry.guard = Tokens(registry, 8)
    asked = source(registry.address)
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(whole(asked.open_blob(descriptor(BODY)))))
        for _ in range(8)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert found == [BODY] * 8
    assert tokens.given == 1


def test_a_token_that_ends_while_its_request_waits_is_renewed(
    registry: BadRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcbox.image.transport._FRESH_SECONDS", 0)
    tokens = registry.guard = Tokens(registry, 1)
    registry.spoil("blobs", Fault(status=503, times=1))

    assert whole(source(registry.address).open_blob(descriptor(BODY))) == BODY
    assert tokens.given == 2


def test_a_token_that_is_never_good_is_no_endless_talk(registry: BadRegistry) -> None:
    tokens = registry.guard = Tokens(registry, 0)

    with pytest.raises(RegistryRefused, match="refused the credentials of alice"):
        source(registry.address, credentials=SECRET).open_blob(descriptor(BODY))

    assert tokens.given == 1


def challenge(registry: BadRegistry, header: str) -> None:
    registry.spoil("blobs", Fault(status=401, headers={"WWW-Authenticate": header}))


@pytest.mark.parametrize("realm", ["ftp://x/", "file:///etc/passwd", "//x/t", "http://", "", "["])
def test_a_realm_that_is_no_web_address_gets_nothing(registry: BadRegistry, realm: str) -> None:
    challenge(registry, f'Bearer realm="{realm}"')

    with pytest.raises(RegistryRefused, match="no https address"):
        source(registry.address, credentials=SECRET).open_blob(descriptor(BODY))


def test_a_token_that_is_cut_is_fetched_again(registry: BadRegistry) -> None:
    tokens = registry.guard = Tokens(registry, 1)
    registry.spoil("/token", Fault(cut_after=5, times=1))

    assert whole(source(registry.address).open_blob(descriptor(BODY))) == BODY
    assert tokens.given == 2


def test_several_scopes_are_asked_for_one_by_one(registry: BadRegistry) -> None:
    realm = f"http://{registry.address}/token?app=1"
    challenge(registry, f'Bearer realm="{realm}",scope="repository:a/b:pull repository:c:pull"')

    with pytest.raises(RegistryRefused):
        source(registry.address).open_blob(descriptor(BODY))

    asked = registry.paths()[-1]
    assert asked == "/token?app=1&scope=repository%3Aa%2Fb%3Apull&scope=repository%3Ac%3Apull"


def test_the_first_known_of_several_schemes_is_answered(registry: BadRegistry) -> None:
    registry.spoil(
        "blobs",
        Fault(status=401, headers={"WWW-Authenticate": "Negotiate, Basic realm=x"}, times=1),
    )

    assert whole(source(registry.address, credentials=SECRET).open_blob(descriptor(BODY))) == BODY
    assert registry.received[-1][1]["Authorization"] == SECRET.basic


def test_an_unknown_scheme_is_named(registry: BadRegistry) -> None:
    challenge(registry, "Negotiate")

    with pytest.raises(RegistryRefused, match="asks for 'negotiate'"):
        source(registry.address, credentials=SECRET).open_blob(descriptor(BODY))


def test_a_challenge_of_another_host_gets_no_credentials(registry: BadRegistry) -> None:
    with BadRegistry() as storage:
        storage.spoil("x", Fault(status=401, headers={"WWW-Authenticate": "Basic realm=x"}))
        there = f"http://{storage.address}/x"
        registry.spoil("blobs", Fault(status=307, headers={"Location": there}))

        with pytest.raises(RegistryUnreachable, match="credentials of its own"):
            source(registry.address, credentials=SECRET).open_blob(descriptor(BODY))

        assert all("Authorization" not in headers for _, headers in storage.received)


@pytest.mark.parametrize(
    "target", ["ftp://storage/blob?X=s1gnature", "http://u:s1gnature@storage/blob"]
)
def test_the_secret_in_a_redirect_is_not_repeated(registry: BadRegistry, target: str) -> None:
    registry.spoil("blobs", Fault(status=307, headers={"Location": target}))

    with pytest.raises(RegistryUnreachable) as caught:
        source(registry.address).open_blob(descriptor(BODY))

    assert "//storage/blob" in str(caught.value)
    assert "s1gnature" not in str(caught.value)


def test_secrets_are_no_part_of_a_value_s_text(tmp_path: Path) -> None:
    shown = repr(Credentials("alice", "s3cret", "t0ken")) + str(tmp_path)

    assert "alice" in shown
    assert "s3cret" not in shown
    assert "t0ken" not in shown

"""Whatever a registry, a file or a helper says: an answer or one line of error, and no secret."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbox import registries
from hpcbox.errors import HpcboxError
from hpcbox.image import credential_files, netrc, retrying
from hpcbox.image.authorization import challenges
from tests.image.sourcing import SECRET, descriptor, source, whole
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.small_images import OCI_MANIFEST

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
HEADER = st.text(st.characters(max_codepoint=255), max_size=60) | st.lists(
    st.sampled_from(["Bearer", "Basic", "realm", "=", '"', "\\", ",", " ", "x", "scope"])
).map("".join)


@settings(deadline=None, database=None, max_examples=300)
@given(HEADER)
def test_any_challenge_is_read(header: str) -> None:
    for challenge in challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


@settings(deadline=None, database=None)
@given(HEADER)
def test_any_wait_is_a_number_or_none(header: str) -> None:
    seconds = retrying.retry_after(header)

    assert seconds is None or seconds >= 0


@settings(deadline=None, database=None)
@given(
    st.lists(st.sampled_from(["machine", "login", "m", "default", "macdef", '"', "#", "\n", " "]))
)
def test_any_netrc_is_read(words: list[str]) -> None:
    assert isinstance(netrc.parse("".join(words)), dict)


KEYS = st.sampled_from(["auths", "credHelpers", "credsStore", "r.site"])


@settings(deadline=None, database=None)
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, JSON) | JSON))
def test_any_json_holds_credentials_or_is_refused(table: dict[str, Any]) -> None:
    with contextlib.suppress(HpcboxError):
        credential_files.helpers(table, "file", "r.site")
        credential_files.stored(table, "file", "r.site", "team/app")


TABLES = st.dictionaries(
    st.sampled_from(["r.site", "r.site:5000", "[::1]:5", "x y"]),
    JSON
    | st.dictionaries(
        st.sampled_from(["plain_http", "ca_file", "mirrors", "proxy"]),
        JSON | st.sampled_from(["/ca.pem", "http://p:1", "none"]) | st.lists(st.text(max_size=5)),
    ),
)


@settings(deadline=None, database=None)
@given(TABLES)
def test_any_table_of_registries_is_read_back_equal_or_refused(table: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError):
        found = registries.parse(table)
        again = {name: registries.as_table(one) for name, one in found.items()}
        assert registries.parse(json.loads(json.dumps(again))) == found


@pytest.fixture(scope="module")
def long_name() -> str:
    """A reference's name at its longest."""
    return "/".join(["a" * 120, "b" * 120])


NASTY = '\x1b[2J\u202e"]\n, ' + "x" * 2000
ANSWERS = [
    Fault(status=401, headers={"WWW-Authenticate": 'Bearer realm="ftp://' + "r" * 3000 + '"'}),
    Fault(status=401, headers={"WWW-Authenticate": "S" * 3000}),
    Fault(status=307, headers={"Location": "gopher://" + "l" * 3000}),
    Fault(status=307, headers={"Location": "http://[" + "l" * 3000}),
    Fault(status=418, alter=lambda _body: json.dumps({"errors": [{"message": NASTY}]}).encode()),
    Fault(status=418, alter=lambda _body: b'{"errors": [3]}'),
    Fault(status=418, alter=lambda _body: b"[" * 100_000),
    Fault(status=404),
    Fault(status=403),
    Fault(status=407),
    Fault(status=429, headers={"Retry-After": "9" * 3000}),
    Fault(alter=lambda _body: json.dumps({"mediaType": NASTY, "schemaVersion": 2}).encode()),
    Fault(headers={"Transfer-Encoding": "chunked"}),
]


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_any_answer_is_told_in_one_short_line(long_name: str, number: int) -> None:
    with BadRegistry() as registry:
        registry.push_manifest(long_name, "1", b"{}", OCI_MANIFEST)
        registry.spoil("/manifests/", ANSWERS[number])
        asked = source(
            registry.address, long_name, credentials=SECRET, stall_seconds=0.3, retry_seconds=0.2
        )

        with pytest.raises(HpcboxError) as caught:
            asked.resolve()

    said = str(caught.value)
    assert len(said) <= 600
    assert said.isprintable()
    assert "s3cret" not in said


def test_a_reset_at_any_moment_of_an_answer_is_borne() -> None:
    body = bytes(range(256)) * 400
    with BadRegistry(knows_ranges=True) as registry:
        registry.push_blob("a/b", body)
        for cut in (0, 1, 255, 65_536, len(body) - 1):
            registry.spoil("blobs", Fault(cut_after=cut, reset=True, times=1))
            assert whole(source(registry.address).open_blob(descriptor(body))) == body

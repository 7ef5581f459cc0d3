"""The plugin's request as the node reads it."""

import json

import pytest

from hpcbox.errors import RequestError
from hpcbox.request import wire


def request(**fields: object) -> bytes:
    return json.dumps({"version": 1, "image": "debian:1", **fields}).encode()


def test_absent_fields_are_empty() -> None:
    read = wire.read(request(digest=None))

    assert (read.image, read.digest, read.mounts, read.env) == ("debian:1", "", "", ())


def test_names_of_variables_are_split() -> None:
    assert wire.read(request(env="A,,B")).env == ("A", "B")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"version": 1} x',
        b'{"version": 1}',
        b"[" * 100_000,
        request(version=2),
        request(image=""),
        request(mounts=3),
        request(cwd="/a\0b"),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError):
        wire.read(data)

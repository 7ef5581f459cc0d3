"""Image references: what users type, and what they are told when it is wrong."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbox.errors import HpcboxError, ReferenceInvalid
from hpcbox.image.digest import Digest
from hpcbox.image.local_path import parse_typed
from hpcbox.image.reference import LocalReference, Reference, parse

HEX = "0123456789abcdef" * 4

GOOD = {
    "debian": "docker.io/library/debian:latest",
    "debian:12": "docker.io/library/debian:12",
    "docker://debian": "docker.io/library/debian:latest",
    "owner/name": "docker.io/owner/name:latest",
    "docker.io/debian": "docker.io/library/debian:latest",
    "index.docker.io/owner/name:1": "docker.io/owner/name:1",
    "ghcr.io/owner/x": "ghcr.io/owner/x:latest",
    "localhost/a": "localhost/a:latest",
    "reg:5000/a/b/c:v1.2-3_4": "reg:5000/a/b/c:v1.2-3_4",
    "10.77.0.1:5000/mpich:1": "10.77.0.1:5000/mpich:1",
    "[::1]:5000/a": "[::1]:5000/a:latest",
    "REG.Site:5000/a": "reg.site:5000/a:latest",
    "nvcr.io#nvidia/pytorch:24.01": "nvcr.io/nvidia/pytorch:24.01",
    "docker://reg#a/b": "reg#a/b:latest",
    f"reg.io/a@sha256:{HEX}": f"reg.io/a@sha256:{HEX}",
    f"reg.io/a:1@sha256:{HEX}": f"reg.io/a:1@sha256:{HEX}",
    "a--b/c__d/e.f": "docker.io/a--b/c__d/e.f:latest",
}

WRONG = {
    "": "empty",
    "  ": "empty",
    "a b": "character ' '",
    "a\nb": "character",
    "a\x1b[0m": "character",
    "Debian": "'debian' may be meant",
    "reg.io/Owner/x": "'owner/x' may be meant",
    "https://reg.io/a": "'reg.io/a' may be meant",
    "ftp://a": "unknown",
    "reg.io/": "names no image",
    "reg.io/a:": "no tag follows",
    "reg.io/a:b/c": "slash follows the tag",
    "reg.io/a:ä": "no tag",
    "reg.io/a:" + "t" * 129: "no tag",
    "reg.io//a": "empty",
    "reg.io/a/": "empty",
    "reg.io/-a": "no part of a name",
    "reg.io/a..b": "no part of a name",
    "reg_x.io/a": "no registry",
    "reg:99999/a": "port",
    "reg.io/a@sha256:12": "2 characters",
    f"reg.io/a@sha512:{HEX}": "sha256",
    f"reg.io/a@md5{HEX}": "no digest",
    "user@reg.io#a": "names a user",
    "./folder": "must end in",
    "/images/x": "must end in",
    "oci:": "nothing follows",
    "oci:///a/b": "'oci:/a/b' may be meant",
    "dir://a": "'dir:a' may be meant",
    "docker-daemon:a:1": "'dockerd://a:1' may be meant",
    "file:///a/b.sqsh": "'/a/b.sqsh' may be meant",
    "./a.tar": "oci-archive: or docker-archive:",
    "dockerd://a b": "character ' '",
    "oci:a\tb": "character",
    "docker://user@reg.io/a": "names a user",
    "a" * 2000: "2000 characters",
    "reg.io/" + "a" * 256: "256 characters, 255",
    # With the `library/` that the registry wants.
    "a" * 248: "256 characters, 255",
    "caf\udce9": "character",
}

LOCAL = {
    "dockerd://debian:12": LocalReference("dockerd://", "debian:12"),
    "podman://x": LocalReference("podman://", "x"),
    "oci:dir:ref": LocalReference("oci:", "dir:ref"),
    "oci-archive:/a/b.tar": LocalReference("oci-archive:", "/a/b.tar"),
    "docker-archive:x.tar": LocalReference("docker-archive:", "x.tar"),
    "dir:/srv/root": LocalReference("dir:", "/srv/root"),
    "/images/a.sqsh": LocalReference("path", "/images/a.sqsh"),
    "./a.EROFS": LocalReference("path", "./a.EROFS"),
    "a.squashfs": LocalReference("path", "a.squashfs"),
    "my images/a b.sqsh": LocalReference("path", "my images/a b.sqsh"),
    "oci:my images/x:1": LocalReference("oci:", "my images/x:1"),
    "~/a.sqsh": LocalReference("path", "~/a.sqsh"),
}


@pytest.mark.parametrize(("text", "canonical"), GOOD.items())
def test_a_reference_has_one_canonical_form_that_parses_to_itself(
    text: str, canonical: str
) -> None:
    reference = parse(text)

    assert str(reference) == canonical
    assert parse(canonical) == reference


@pytest.mark.parametrize(("text", "reason"), WRONG.items())
def test_a_wrong_reference_is_refused_with_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ReferenceInvalid) as caught:
        parse(text)

    assert reason in str(caught.value)
    assert len(str(caught.value)) <= 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("text", "expected"), LOCAL.items())
def test_images_of_this_machine_are_known(text: str, expected: LocalReference) -> None:
    assert parse(text) == expected
    assert str(parse(text)) == text


def test_a_name_without_registry_goes_to_the_default_one() -> None:
    assert parse("mpich:1", "reg.site:5000") == Reference("reg.site:5000", "mpich", "1")


def test_a_digest_is_what_is_asked_for_when_there_is_one() -> None:
    reference = parse(f"reg.io/a:1@sha256:{HEX}")

    assert isinstance(reference, Reference)
    assert reference.target == f"sha256:{HEX}"


@settings(deadline=None, database=None)
@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    with contextlib.suppress(HpcboxError):
        reference = parse(text)

        assert parse(str(reference)) == reference


NAME = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?(/[a-z0-9]{1,8}){0,3}", fullmatch=True)
REGISTRY = st.from_regex(
    r"([a-z0-9]{1,8}\.[a-z]{2,3}|localhost)(:[1-9][0-9]{1,3})?", fullmatch=True
)
TAG = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
DIGEST = st.none() | st.binary(min_size=1, max_size=3).map(Digest.of)
PATHS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "))
FORMS = st.sampled_from(["oci:", "oci-archive:", "docker-archive:", "dir:"])


@settings(deadline=None, database=None)
@given(REGISTRY, NAME, TAG, DIGEST)
def test_what_is_written_for_an_image_of_a_registry_is_read_as_it(
    registry: str, name: str, tag: str | None, digest: Digest | None
) -> None:
    tag = tag if tag or digest else "latest"
    written = Reference(registry, name, tag, digest)
    # A registry's name decides, not what looks like a file.
    if not str(written).endswith((".sqsh", ".squashfs", ".erofs")):
        assert parse(str(written)) == written


@settings(deadline=None, database=None)
@given(FORMS, PATHS, st.sampled_from(["", ":1", ":a/b:c"]))
def test_what_is_written_for_an_image_here_is_read_as_it(form: str, path: str, name: str) -> None:
    written = LocalReference(form, f"/{path.lstrip('/')}{name}")

    assert parse(str(written)) == written


@settings(deadline=None, database=None)
@given(FORMS | st.just(""), PATHS, PATHS)
def test_a_path_that_was_made_whole_stays_as_it_is(form: str, path: str, folder: str) -> None:
    text = f"{form}./{path}" + ("" if form else "x.sqsh")
    with contextlib.suppress(HpcboxError):
        whole = parse_typed(text, "docker.io", f"/{folder}")

        assert parse_typed(str(whole), "docker.io", "/elsewhere") == whole

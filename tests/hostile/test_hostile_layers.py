"""Layers made to leave the root: refused with one line, and nothing outside is touched."""

import contextlib
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbox.errors import BlobInvalid, HpcboxError, ImageTooLarge, LayerRejected
from hpcbox.rootfs import stack
from hpcbox.rootfs.settle import opened
from tests.hostile import corpus
from tests.hostile.forms import FORMS, READABLE_FORMS, take
from tests.hostile.outside import Outside
from tests.rootfs.unpacking import Bytes, unpack_tar
from tests.services.small_images import Item, file, folder, hardlink, opaque, symlink, tar


def named(cases: tuple[corpus.Refused, ...] | tuple[corpus.Contained, ...]) -> list[str]:
    return [case.name for case in cases]


def streams(case: corpus.Refused | corpus.Contained) -> list[Bytes]:
    return [Bytes(content) for content in case.tars()]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", corpus.REFUSED, ids=named(corpus.REFUSED))
def test_a_layer_that_breaks_a_rule_is_refused(
    tmp_path: Path, form: str, case: corpus.Refused
) -> None:
    check_refused(tmp_path, form, case)


@pytest.mark.parametrize("form", READABLE_FORMS)
@pytest.mark.parametrize("case", corpus.WITH_HELP, ids=named(corpus.WITH_HELP))
def test_a_layer_that_breaks_a_rule_with_the_help_of_another_is_refused(
    tmp_path: Path, form: str, case: corpus.Refused
) -> None:
    check_refused(tmp_path, form, case)


def check_refused(scratch: Path, form: str, case: corpus.Refused) -> None:
    outside = Outside(scratch)

    with pytest.raises((LayerRejected, BlobInvalid, ImageTooLarge)) as caught:
        take(form, scratch / "layers", streams(case))

    assert case.reason in str(caught.value)
    assert len(str(caught.value)) <= 600
    assert str(caught.value).isprintable()
    outside.check("layers")


@pytest.mark.parametrize("form", READABLE_FORMS)
@pytest.mark.parametrize("case", corpus.CONTAINED, ids=named(corpus.CONTAINED))
def test_a_strange_layer_stays_inside(tmp_path: Path, form: str, case: corpus.Contained) -> None:
    outside = Outside(tmp_path)

    take(form, tmp_path / "layers", streams(case))

    for name in case.inside:
        assert has(tmp_path / "layers", form, name), name
    outside.check("layers")


def has(folder: Path, form: str, name: str) -> bool:
    """Whether the image that `take` made has a name."""
    if form == "unpack":
        return os.path.lexists(folder / "root" / name)
    layers = [os.open(folder / layer, os.O_RDONLY) for layer in sorted(os.listdir(folder))]
    try:
        with opened(layers) as forms, stack.opened(forms) as whole:
            return whole.look(os.fsencode(name)) is not None
    finally:
        for layer in layers:
            os.close(layer)


def test_a_file_is_never_written_through_a_symlink_of_its_own_name(tmp_path: Path) -> None:
    outside = Outside(tmp_path)

    unpack_tar(
        tmp_path / "layer", tar(symlink("x", f"{tmp_path}/outside/secret"), file("x", b"new"))
    )

    assert (tmp_path / "layer/x").read_bytes() == b"new"
    outside.check("layer")


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(LayerRejected) as caught:
        unpack_tar(tmp_path / "layer", tar(file("../\x1b[2J\nfake line" + "\x01" * 3000)))

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 600


@pytest.mark.parametrize("field", [slice(124, 136), slice(100, 108), slice(136, 148)])
@pytest.mark.parametrize("value", [b"-1", b"9", b"\xff" * 8, b"\x80" + b"\xff" * 11, b"abc"])
def test_wrong_numbers_in_headers_are_refused_or_harmless(
    tmp_path: Path, field: slice, value: bytes
) -> None:
    header = bytearray(tar(file("a", b"x"), form=tarfile.GNU_FORMAT))
    width = field.stop - field.start
    header[field] = value[:width].ljust(width, b"\0")
    _mend_checksum(header, 0)

    with contextlib.suppress(HpcboxError):
        unpack_tar(tmp_path / "layer", bytes(header))

    assert set(os.listdir(tmp_path / "layer")) <= {"a"}


@pytest.mark.parametrize(
    "records",
    [
        b"9 path=a\nx=b\n",
        b"9 path=a\n0 x=b\n",
        b"9 path=a\n1 x=b\n",
        b"9 path=a\n99 x=b\n",
        b"9 path=a\n 6 x=b\n",
        b"path=a\n",
        b"9 pathxa\n",
        b"9 path=aa",
        b"99999999999999999999 a=b\n",
        b"-9 path=a\n",
    ],
)
def test_a_pax_header_that_follows_no_rule_is_refused(tmp_path: Path, records: bytes) -> None:
    content = corpus.pax(records) + tar(file("a"))

    with pytest.raises(BlobInvalid, match="layer is broken"):
        unpack_tar(tmp_path / "layer", content)


WHOLE = tar(
    folder("usr"),
    folder("usr/bin"),
    symlink("bin", "usr/bin"),
    file("bin/" + "long" * 50, b"content"),
    hardlink("same", "bin/" + "long" * 50),
    Item("etc/.wh.gone"),
    opaque("var"),
    Item("attributes", b"x" * 700, pax={"SCHILY.xattr.user.a": "b", "mtime": "1.5"}),
    Item("sparse", b"x" * 7, pax={"GNU.sparse.size": "9", "GNU.sparse.map": "0,5,6,2"}),
)


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, database=None, max_examples=50)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
    length=st.integers(0, len(WHOLE)),
    mend=st.booleans(),
)
def test_a_damaged_tar_is_unpacked_inside_or_refused(
    form: str, changes: list[tuple[int, int]], length: int, *, mend: bool
) -> None:
    content = bytearray(WHOLE)
    for position, value in changes:
        content[position] = value
        if mend:
            _mend_checksum(content, position // 512 * 512)
    with tempfile.TemporaryDirectory() as scratch:
        outside = Outside(Path(scratch))
        with contextlib.suppress(LayerRejected, BlobInvalid, ImageTooLarge):
            take(form, Path(scratch, "layers"), [Bytes(bytes(content[:length]))])

        outside.check("layers")


def _mend_checksum(content: bytearray, start: int) -> None:
    header = content[start : start + 512]
    header[148:156] = b" " * 8
    content[start + 148 : start + 156] = b"%06o\0 " % sum(header)

"""Layers made to leave the root: refused with one line, and nothing outside is touched."""

import contextlib
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcbox.errors import BlobInvalid, HpcboxError, LayerRejected
from tests.rootfs.unpacking import stacked, unpack, unpack_tar
from tests.services.small_images import (
    Item,
    file,
    folder,
    hardlink,
    opaque,
    symlink,
    tar,
)

OUTSIDE = b"untouched"

REFUSED = [
    pytest.param([file("../secret")], "'..'", id="dot dot"),
    pytest.param([file("a/../../secret")], "'..'", id="dot dot inside of the path"),
    pytest.param([file("a/../b")], "'..'", id="dot dot that stays inside"),
    pytest.param([file("/etc/passwd")], "absolute", id="absolute path"),
    pytest.param([symlink("out", "../.."), file("out/secret")], "leads out", id="symlink"),
    pytest.param(
        [folder("a"), symlink("a/out", "../../outside"), file("a/out/secret")],
        "leads out",
        id="symlink from a folder",
    ),
    pytest.param(
        [symlink("a", "b"), symlink("b", ".."), file("a/secret")], "leads out", id="two symlinks"
    ),
    pytest.param([symlink("a", "b"), symlink("b", "a"), file("a/x")], "circle", id="circle"),
    pytest.param(
        [folder("d"), symlink("a", "d/../" * 300), file("a/x")], "circle", id="endless ways"
    ),
    pytest.param([hardlink("x", "../secret")], "'..'", id="hardlink with dot dot"),
    pytest.param([hardlink("x", "/etc/passwd")], "absolute", id="absolute hardlink"),
    pytest.param([hardlink("x", "")], "root", id="hardlink to the root"),
    pytest.param([folder("d"), hardlink("x", "d")], "folder", id="hardlink to a folder"),
    pytest.param(
        [symlink("out", "../outside"), hardlink("x", "out/secret")],
        "leads out",
        id="hardlink through a symlink",
    ),
    pytest.param([file("a"), hardlink("a", "a")], "itself", id="hardlink to itself"),
    pytest.param([Item(".wh..wh..opq")], "root", id="opaque root"),
    pytest.param([Item(".wh..")], "whiteout", id="whiteout of dot"),
    pytest.param([Item(".wh...")], "whiteout", id="whiteout of dot dot"),
    pytest.param([Item(".wh.")], "whiteout", id="whiteout of nothing"),
    pytest.param([Item("a/.wh...")], "whiteout", id="whiteout of the folder above"),
    pytest.param([Item("../.wh.a")], "'..'", id="whiteout outside"),
    pytest.param([symlink("a", "."), opaque("a")], "root", id="opaque root through a symlink"),
    pytest.param([symlink("./", "/tmp")], "root", id="root as a symlink"),
    pytest.param([file(".")], "root", id="root as a file"),
    pytest.param([file("a"), file("a/b")], "no folder", id="file as a parent"),
    pytest.param([file("/".join("d" * 300))], "deep", id="too deep"),
    pytest.param(
        [file("/".join("d" * 256)), symlink("s", "/".join("d" * 255)), folder("s/x/")]
        + [symlink("t", "s/x"), folder("t/y")],
        "deep",
        id="too deep through symlinks",
    ),
    pytest.param(
        [file("/".join(["p" * 200] * 20)), symlink("s", "/".join(["p" * 200] * 19))]
        + [folder("s/" + "q" * 200), symlink("t", "s/" + "q" * 200), folder("t/" + "r" * 200)],
        "longer",
        id="path too long through symlinks",
    ),
    pytest.param([file("n" * 256)], "longer", id="name too long"),
    pytest.param([file("/".join(["p" * 200] * 25))], "longer", id="path too long"),
    pytest.param([Item("a", kind=b"Z")], "type", id="unknown type"),
    pytest.param([Item("a", pax={"path": "a\0b"})], "NUL", id="NUL in a PAX path"),
    pytest.param([Item("a", pax={"path": "../a"})], "'..'", id="dot dot in a PAX path"),
    pytest.param([symlink("a", "t" * 5000)], "symlink", id="target too long"),
    pytest.param([Item("a", pax={"SCHILY.xattr.user.a\0b": "c"})], "NUL", id="NUL in an xattr"),
    pytest.param(
        [Item("a", b"x", pax={"SCHILY.xattr.user.a": "v" * 200000})], "attributes", id="huge xattr"
    ),
]


@pytest.mark.parametrize(("items", "reason"), REFUSED)
def test_a_layer_that_breaks_a_rule_is_refused(
    tmp_path: Path, items: list[Item], reason: str
) -> None:
    outside = _outside(tmp_path)

    with pytest.raises(LayerRejected) as caught:
        unpack(tmp_path / "layers/layer", *items)

    assert reason in str(caught.value)
    assert len(str(caught.value)) <= 600
    assert "\n" not in str(caught.value)
    _check_outside(outside, tmp_path)


REFUSED_ON_A_LAYER = [
    pytest.param([symlink("esc", "../../outside")], [file("esc/secret")], id="relative symlink"),
    pytest.param([symlink("esc", "/outside")], [file("esc/secret")], id="absolute symlink"),
    pytest.param([symlink("esc", "esc")], [file("esc/secret")], id="circle"),
    pytest.param(
        [symlink("esc", "../../outside")], [hardlink("x", "esc/secret")], id="hardlink through it"
    ),
    pytest.param([symlink("esc", "../../outside")], [Item("esc/.wh.secret")], id="whiteout"),
    pytest.param(
        [folder("etc")], [symlink("esc", "/outside"), file("esc/secret")], id="own symlink, nowhere"
    ),
    pytest.param([folder("etc")], [hardlink("x", "etc/shadow")], id="hardlink to nothing"),
    pytest.param([folder("etc")], [hardlink("x", "etc")], id="hardlink to a folder below"),
]


@pytest.mark.parametrize(("lower", "upper"), REFUSED_ON_A_LAYER)
def test_a_layer_that_breaks_a_rule_with_the_help_of_another_is_refused(
    tmp_path: Path, lower: list[Item], upper: list[Item]
) -> None:
    outside = _outside(tmp_path)

    with pytest.raises(LayerRejected) as caught:
        stacked(tmp_path / "layers", lower, upper)

    assert len(str(caught.value)) <= 600
    _check_outside(outside, tmp_path)


def test_a_symlink_that_leads_out_may_stand_there_as_long_as_nothing_goes_through_it(
    tmp_path: Path,
) -> None:
    unpack(tmp_path / "layer", symlink("out", "../../etc"), symlink("abs", "/etc/passwd"))

    assert os.readlink(tmp_path / "layer/out") == "../../etc"


def test_an_absolute_symlink_leads_within_the_image(tmp_path: Path) -> None:
    outside = _outside(tmp_path)

    unpack(
        tmp_path / "layer", folder("etc"), symlink("esc", "/etc"), file("esc/hpcbox-test", b"in")
    )

    assert (tmp_path / "layer/etc/hpcbox-test").read_bytes() == b"in"
    assert not Path("/etc/hpcbox-test").exists()
    _check_outside(outside, tmp_path)


def test_a_file_is_never_written_through_a_symlink_of_its_own_name(tmp_path: Path) -> None:
    outside = _outside(tmp_path)

    unpack(tmp_path / "layer", symlink("x", str(outside)), file("x", b"overwritten"))

    assert (tmp_path / "layer/x").read_bytes() == b"overwritten"
    _check_outside(outside, tmp_path)


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(LayerRejected) as caught:
        unpack(tmp_path / "layer", file("../\x1b[2J\nfake line" + "\x01" * 3000))

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
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])

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
    header = bytearray(tar(Item("x", records, kind=b"x"), form=tarfile.GNU_FORMAT)[:512])
    header[156:157] = b"x"
    header[124:136] = b"%011o\0" % len(records)
    _mend_checksum(header, 0)
    content = bytes(header) + records.ljust(512, b"\0") + tar(file("a"))

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
)


@settings(deadline=None, database=None, max_examples=150)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
    length=st.integers(0, len(WHOLE)),
    mend=st.booleans(),
)
def test_a_damaged_tar_is_unpacked_inside_or_refused(
    changes: list[tuple[int, int]], length: int, *, mend: bool
) -> None:
    content = bytearray(WHOLE)
    for position, value in changes:
        content[position] = value
        if mend:
            _mend_checksum(content, position // 512 * 512)
    with tempfile.TemporaryDirectory() as scratch:
        outside = _outside(Path(scratch))
        with contextlib.suppress(HpcboxError):
            unpack_tar(Path(scratch) / "layer", bytes(content[:length]))

        _check_outside(outside, Path(scratch))


def _mend_checksum(content: bytearray, start: int) -> None:
    header = content[start : start + 512]
    header[148:156] = b" " * 8
    content[start + 148 : start + 156] = b"%06o\0 " % sum(header)


def _outside(scratch: Path) -> Path:
    folder_outside = scratch / "outside"
    folder_outside.mkdir()
    secret = folder_outside / "secret"
    secret.write_bytes(OUTSIDE)
    return secret


def _check_outside(secret: Path, scratch: Path) -> None:
    assert secret.read_bytes() == OUTSIDE
    assert secret.stat().st_nlink == 1
    assert set(os.listdir(scratch)) <= {"outside", "layer", "layers"}
    assert os.listdir(scratch / "outside") == ["secret"]

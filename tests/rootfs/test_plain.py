"""Layers are laid over each other in one folder as a container would see them stacked."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rootfs.laying import laid
from tests.rootfs.unpacking import listing, merged, open_below, stacked
from tests.services.small_images import Item, file, folder, hardlink, opaque, symlink, whiteout

USR_MERGED = [
    folder("usr"),
    folder("usr/bin", 0o711),
    file("usr/bin/sh", b"shell"),
    symlink("bin", "usr/bin"),
    symlink("absolute", "/usr/bin"),
]

STACKS = [
    pytest.param([file("a", b"1")], [file("a", b"2")], id="a file is replaced"),
    pytest.param([folder("a"), file("a/b")], [file("a")], id="a folder becomes a file"),
    pytest.param([file("a")], [folder("a"), file("a/b")], id="a file becomes a folder"),
    pytest.param([file("a")], [file("a/b")], id="a file becomes an implied folder"),
    pytest.param([symlink("a", "b"), folder("b")], [folder("a"), file("a/c")], id="link to folder"),
    pytest.param([folder("a"), file("a/b")], [whiteout("a")], id="whiteout of a folder"),
    pytest.param(
        [folder("a"), file("a/b")], [folder("a"), file("a/c"), whiteout("a")], id="whiteout last"
    ),
    pytest.param([folder("a"), file("a/b")], [whiteout("a"), file("a/c")], id="whiteout first"),
    pytest.param([folder("a"), file("a/b")], [file("a/c"), opaque("a")], id="opaque last"),
    pytest.param(
        [folder("a", 0o700), file("a/b")], [opaque("a"), file("a/c")], id="opaque without an entry"
    ),
    pytest.param([file("a")], [whiteout("a"), file("a", b"new")], id="whiteout and a new file"),
    pytest.param([], [whiteout("a"), folder("b"), opaque("b")], id="whiteouts of nothing"),
    pytest.param([], [folder("a"), folder("a/b"), whiteout("a/b/c")], id="whiteout in new folders"),
    pytest.param(USR_MERGED, [file("bin/new", b"n")], id="usr-merge"),
    pytest.param(USR_MERGED, [file("absolute/new", b"n")], id="absolute symlink"),
    pytest.param(USR_MERGED, [whiteout("bin/sh")], id="whiteout behind a symlink"),
    pytest.param(USR_MERGED, [opaque("bin"), file("bin/n")], id="opaque behind a symlink"),
    pytest.param(USR_MERGED, [whiteout("bin"), file("bin/n")], id="whiteout of the symlink"),
    pytest.param(USR_MERGED, [file("bin/n"), whiteout("bin")], id="whiteout of the symlink last"),
    pytest.param(USR_MERGED, [hardlink("bin/dash", "bin/sh")], id="hardlink behind a symlink"),
    pytest.param(
        USR_MERGED,
        [folder("usr"), folder("usr/bin"), file("usr/bin/old"), file("bin/n")],
        id="both ways",
    ),
    pytest.param(USR_MERGED, [file("bin/a/b/c"), file("bin/a/d")], id="implied ones behind it"),
    pytest.param(
        [*USR_MERGED, symlink("usr/bin/x", "../lib"), folder("usr/lib")],
        [file("bin/x/y")],
        id="a symlink behind a symlink",
    ),
    pytest.param([folder("tmp", 0o1777)], [file("tmp/x")], id="the mode below stays"),
    pytest.param([folder("tmp", 0o555)], [folder("tmp", 0o755), file("tmp/x")], id="mode changes"),
    pytest.param([file("a")], [hardlink("b", "a"), hardlink("c", "b")], id="hardlinks below"),
    pytest.param([file("a")], [whiteout("a"), hardlink("b", "a")], id="hardlink to what is hidden"),
    pytest.param(
        [folder("d"), file("d/a")], [opaque("d"), hardlink("b", "d/a")], id="hardlink into opaque"
    ),
    pytest.param([symlink("a", "x")], [hardlink("b", "a")], id="hardlink to a symlink"),
    pytest.param([file("a")], [symlink("d", "."), hardlink("b", "d/a")], id="hardlink by own link"),
]


@pytest.mark.parametrize(("lower", "upper"), STACKS)
def test_the_folder_is_what_a_stack_of_layers_shows(
    tmp_path: Path, lower: list[Item], upper: list[Item]
) -> None:
    shown = merged(stacked(tmp_path / "stack", lower, upper))

    root = laid(tmp_path / "root", lower, upper)

    assert listing(root) == shown
    assert set(os.listdir(tmp_path)) == {"stack", "root"}


def test_hardlinks_to_layers_below_are_hardlinks(tmp_path: Path) -> None:
    root = laid(tmp_path / "root", [file("a")], [folder("d"), hardlink("d/b", "a")])

    assert (root / "a").stat().st_ino == (root / "d/b").stat().st_ino


def test_a_changed_file_leaves_its_other_names_alone(tmp_path: Path) -> None:
    lower = [file("a", b"1"), hardlink("b", "a")]

    root = laid(tmp_path / "root", lower, [file("a", b"2")])

    assert (root / "a").read_bytes() == b"2"
    assert (root / "b").read_bytes() == b"1"


def test_times_and_attributes_are_the_uppermost_entrys(tmp_path: Path) -> None:
    noted = Item("d", kind=b"5", mode=0o755, pax={"SCHILY.xattr.user.a": "1"}, mtime=100)
    plain = Item("d", kind=b"5", mode=0o755, pax={"SCHILY.xattr.user.b": "2"}, mtime=200)

    root = laid(tmp_path / "root", [noted], [plain, file("d/x")], [file("d/y")])

    assert os.listxattr(root / "d") == ["user.b"]
    assert (root / "d").stat().st_mtime == 200


def test_the_root_keeps_the_mode_of_the_last_entry_it_has(tmp_path: Path) -> None:
    root = laid(tmp_path / "root", [folder("./", 0o711)], [file("x")])

    assert root.stat().st_mode & 0o777 == 0o711
    assert root.stat().st_mtime == 1_600_000_000


def test_no_descriptor_and_no_mark_is_left(tmp_path: Path) -> None:
    layers = [
        [file(f"{number}/{number}/f"), whiteout(f"{number}/x"), opaque(f"{number}/{number}")]
        for number in range(50)
    ]

    root = laid(tmp_path / "root", *layers)

    assert open_below(tmp_path) == []
    assert not list(root.rglob(".wh.*"))


def test_somebody_who_is_not_root_gets_the_same_tree() -> None:
    closed = [folder("c", 0o555), folder("c/d", 0o000), file("c/d/e", b"e", 0o000)]
    upper = [folder("c", 0o500), file("c/f"), folder("g", 0o111), file("g/h"), whiteout("g/i")]
    last = [file("c/d/x"), whiteout("c/f"), folder("./", 0o555)]
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o777)  # noqa: S103 - nobody unpacks there
        ours = laid(Path(scratch, "root"), closed, upper, last)

        _as_nobody(lambda: laid(Path(scratch, "nobody/root"), closed, upper, last))

        theirs = Path(scratch, "nobody/root")
        assert listing(theirs) == listing(ours)
        assert theirs.stat().st_mode == ours.stat().st_mode
        assert (theirs / "c/d/e").stat().st_uid == 65534


def _as_nobody(action: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.umask(0o027)
            action()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

"""Layers that lean on layers below become what applying them one on the other would give."""

import subprocess
from pathlib import Path

import pytest

from hpcbox.errors import LayerRejected
from tests.rootfs.unpacking import merged, open_below, stacked
from tests.services.small_images import (
    Item,
    file,
    folder,
    hardlink,
    opaque,
    symlink,
    whiteout,
)

USR_MERGED = [
    folder("usr"),
    folder("usr/bin"),
    file("usr/bin/sh", b"shell"),
    symlink("bin", "usr/bin"),
]


def test_an_entry_below_a_symlink_of_a_lower_layer_lands_where_it_leads(tmp_path: Path) -> None:
    layers = stacked(tmp_path, USR_MERGED, [file("bin/tool", b"tool")])

    seen = merged(layers)

    assert seen["bin"] == "link usr/bin"
    assert seen["usr/bin/tool"] == "file 644 tool"
    assert seen["usr/bin/sh"] == "file 644 shell"


def test_an_absolute_symlink_below_leads_within_the_image(tmp_path: Path) -> None:
    layers = stacked(
        tmp_path,
        [folder("run", 0o1777), folder("var"), symlink("var/run", "/run")],
        [folder("var"), file("var/run/pid/file"), symlink("etc", "/nowhere")],
    )

    seen = merged(layers)

    assert seen["run/pid/file"] == "file 644 x\n"
    assert seen["run"] == "folder 1777"
    assert seen["var/run"] == "link /run"


def test_a_folder_entry_replaces_a_symlink_below(tmp_path: Path) -> None:
    layers = stacked(tmp_path, USR_MERGED, [folder("bin"), file("bin/tool")])

    assert merged(layers)["bin"] == "folder 755"


def test_folders_without_an_entry_keep_the_mode_they_have_below(tmp_path: Path) -> None:
    layers = stacked(tmp_path, [folder("tmp", 0o1777), folder("srv")], [file("tmp/new")])

    assert merged(layers)["tmp"] == "folder 1777"


def test_a_layer_that_fits_is_used_as_it_is(tmp_path: Path) -> None:
    layers = stacked(tmp_path, [folder("srv")], [file("srv/new"), file("new/one")])

    assert [path.parent.name for path in layers] == ["0", "1"]


def test_a_whiteout_below_a_symlink_hides_where_it_leads(tmp_path: Path) -> None:
    layers = stacked(tmp_path, USR_MERGED, [whiteout("bin/sh")])

    seen = merged(layers)

    assert "usr/bin/sh" not in seen
    assert seen["bin"] == "link usr/bin"


def test_an_opaque_mark_below_a_symlink_hides_where_it_leads(tmp_path: Path) -> None:
    layers = stacked(tmp_path, USR_MERGED, [opaque("bin"), file("bin/new")])

    seen = merged(layers)

    assert "usr/bin/sh" not in seen
    assert seen["usr/bin/new"] == "file 644 x\n"


def test_symlinks_inside_of_moved_folders_are_followed_too(tmp_path: Path) -> None:
    below = [
        folder("usr"),
        folder("usr/lib"),
        folder("usr/lib/real", 0o700),
        symlink("usr/lib/alias", "real"),
        symlink("lib", "usr/lib"),
    ]

    seen = merged(stacked(tmp_path, below, [file("lib/alias/deep/file")]))

    assert seen["usr/lib/real/deep/file"] == "file 644 x\n"
    assert seen["usr/lib/real"] == "folder 700"
    assert seen["usr/lib/alias"] == "link real"


def test_a_hardlink_to_a_file_below_is_one_file_under_both_names(tmp_path: Path) -> None:
    below = [folder("data", 0o700), file("data/big", b"content", 0o640)]

    layers = stacked(tmp_path, below, [hardlink("name", "data/big")])

    top = layers[-1]
    assert merged(layers)["name"] == "file 640 content"
    assert (top / "name").stat().st_ino == (top / "data/big").stat().st_ino
    assert (top / "data").stat().st_mode & 0o777 == 0o700


def test_a_hardlink_through_a_symlink_below_finds_its_file(tmp_path: Path) -> None:
    layers = stacked(tmp_path, USR_MERGED, [hardlink("bin/bash", "bin/sh")])

    assert merged(layers)["usr/bin/bash"] == "file 644 shell"


def test_a_chain_of_hardlinks_to_a_file_below_is_one_file(tmp_path: Path) -> None:
    layers = stacked(tmp_path, [file("a", b"1")], [hardlink("b", "a"), hardlink("c", "b")])

    top = layers[-1]
    assert (top / "b").stat().st_ino == (top / "c").stat().st_ino


def test_a_hardlink_to_a_file_that_the_layer_itself_removes_keeps_the_file(tmp_path: Path) -> None:
    layers = stacked(tmp_path, [file("old", b"1")], [hardlink("new", "old"), whiteout("old")])

    assert merged(layers) == {"new": "file 644 1"}


def test_a_later_entry_takes_the_place_of_a_hardlink_to_below(tmp_path: Path) -> None:
    layers = stacked(tmp_path, [file("old", b"1")], [hardlink("new", "old"), file("new", b"2")])

    assert merged(layers)["new"] == "file 644 2"


def test_a_hardlink_to_what_a_layer_between_removed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayerRejected, match="which no layer has"):
        stacked(tmp_path, [file("old")], [whiteout("old")], [hardlink("new", "old")])


def test_the_layer_itself_is_not_changed_by_settling(tmp_path: Path) -> None:
    stacked(tmp_path, USR_MERGED, [file("bin/tool")])

    assert (tmp_path / "1/fs/bin/tool").is_file()
    assert (tmp_path / "1/fs/bin/tool").stat().st_ino == (
        tmp_path / "1-settled/fs/usr/bin/tool"
    ).stat().st_ino


def test_overlayfs_shows_what_the_layers_mean(tmp_path: Path) -> None:
    layers = stacked(
        tmp_path,
        [*USR_MERGED, folder("doc"), file("doc/old"), folder("tmp", 0o1777)],
        [file("bin/tool"), opaque("doc"), file("doc/new"), file("tmp/x"), whiteout("usr/bin/sh")],
    )

    found = _through_overlay(layers, tmp_path)

    assert found == {
        ".", "./bin", "./doc", "./doc/new", "./tmp", "./tmp/x", "./usr", "./usr/bin",
        "./usr/bin/tool",
    }  # fmt: skip


def _through_overlay(layers: list[Path], scratch: Path) -> set[str]:
    """List the layers through a real overlay, in a mount namespace of its own."""
    root = scratch / "root"
    root.mkdir()
    lower = ":".join(str(path) for path in reversed(layers))
    script = f'mount -t overlay overlay -o userxattr,lowerdir="{lower}" "$0" && cd "$0" && find .'
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, str(root)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())


def test_settling_leaves_no_descriptor_open(tmp_path: Path) -> None:
    stacked(tmp_path, USR_MERGED, [file("bin/tool"), hardlink("bin/x", "bin/sh")])

    assert open_below(tmp_path) == []


def test_a_file_of_the_upper_layer_replaces_one_that_the_symlink_leads_to(tmp_path: Path) -> None:
    upper: list[Item] = [folder("usr"), folder("usr/bin"), file("usr/bin/a", b"1"), file("bin/a")]

    seen = merged(stacked(tmp_path, USR_MERGED, upper))

    assert seen["usr/bin/a"] == "file 644 x\n"

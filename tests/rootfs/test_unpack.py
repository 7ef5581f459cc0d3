"""A layer's tar becomes a folder with everything that OCI layers may hold."""

import os
import tarfile
from pathlib import Path

import pytest

from hpcbox.errors import BlobInvalid, ImageTooLarge
from hpcbox.rootfs.unpack import DirectorySink
from tests.rootfs.unpacking import Bytes, budget, listing, open_below, unpack, unpack_tar
from tests.services.small_images import (
    Item,
    file,
    folder,
    hardlink,
    opaque,
    symlink,
    tar,
    whiteout,
)


def test_files_folders_links_and_fifos_are_made(tmp_path: Path) -> None:
    root = tmp_path / "layer"

    unpack(
        root,
        folder("etc", 0o750),
        file("etc/passwd", b"root\n", 0o600),
        symlink("etc/link", "../anywhere"),
        hardlink("etc/same", "etc/passwd"),
        Item("etc/pipe", kind=tarfile.FIFOTYPE, mode=0o622),
    )

    assert listing(root) == {
        "etc": "folder 750",
        "etc/passwd": "file 600 root\n",
        "etc/link": "link ../anywhere",
        "etc/same": "file 600 root\n",
        "etc/pipe": "fifo 622",
    }
    assert (root / "etc/passwd").stat().st_ino == (root / "etc/same").stat().st_ino


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("piece", [7, 512, 2**18])
def test_long_names_are_read_in_both_forms_and_any_pieces(
    tmp_path: Path, form: int, piece: int
) -> None:
    name = "/".join(["long" * 40] * 4)
    content = tar(file(name, b"found"), symlink("short", name + "/to"), form=form)

    unpack_tar(tmp_path / "layer", content, piece)

    assert (tmp_path / "layer" / name).read_bytes() == b"found"
    assert os.readlink(tmp_path / "layer/short") == name + "/to"


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    content = tar(file("caf\udce9"), form=tarfile.GNU_FORMAT)

    unpack_tar(tmp_path / "layer", content)

    assert os.listdir(os.fsencode(tmp_path / "layer")) == [b"caf\xe9"]


def test_times_and_modes_are_kept_even_of_closed_folders(tmp_path: Path) -> None:
    root = tmp_path / "layer"

    unpack(root, folder("closed", 0o555), file("closed/inner"), folder("", 0o711))

    assert listing(root)["closed"] == "folder 555"
    assert (root / "closed").stat().st_mtime == 1_600_000_000
    assert (root / "closed/inner").stat().st_mtime == 1_600_000_000
    assert root.stat().st_mode & 0o777 == 0o711


def test_setuid_bits_of_files_are_dropped_and_of_folders_kept(tmp_path: Path) -> None:
    root = tmp_path / "layer"

    unpack(root, file("su", mode=0o4755), folder("mail", 0o2775), folder("tmp", 0o1777))

    assert listing(root) == {"su": "file 755 x\n", "mail": "folder 2775", "tmp": "folder 1777"}


def test_user_attributes_are_kept_and_those_that_overlayfs_reads_are_not(tmp_path: Path) -> None:
    attributes = {
        "SCHILY.xattr.user.note": "kept",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.security.capability": "x",
    }

    unpack(tmp_path / "layer", Item("tool", b"x", pax=attributes))

    assert os.listxattr(tmp_path / "layer/tool") == ["user.note"]


@pytest.mark.parametrize("size", [2**20, 3 * 2**20 + 5])
def test_large_files_keep_their_content_mode_and_time(tmp_path: Path, size: int) -> None:
    middle = size // 2
    content = os.urandom(middle - 2**18) + bytes(2**18) + os.urandom(size - middle)

    unpack(tmp_path / "root", Item("large", content=content, mode=0o640, mtime=1_500_000_000))

    status = (tmp_path / "root/large").stat()
    assert (tmp_path / "root/large").read_bytes() == content
    assert (status.st_mode & 0o7777, status.st_mtime) == (0o640, 1_500_000_000)


def test_devices_are_skipped(tmp_path: Path) -> None:
    device = Item("dev/null", kind=tarfile.CHRTYPE)

    unpack(tmp_path / "layer", folder("dev"), device, Item("sda", kind=tarfile.BLKTYPE))

    assert listing(tmp_path / "layer") == {"dev": "folder 755"}


def test_a_missing_parent_is_made_and_noted(tmp_path: Path) -> None:
    unpacked = unpack(tmp_path / "layer", file("usr/lib/a"), folder("usr/lib"), file("opt/b"))

    assert listing(tmp_path / "layer")["usr"] == "folder 755"
    assert unpacked.needs.folders == ("usr", "opt")


def test_a_later_entry_replaces_an_earlier_one_whatever_their_types(tmp_path: Path) -> None:
    root = tmp_path / "layer"

    unpack(
        root,
        folder("a"),
        file("a/b"),
        file("a", b"now a file"),
        symlink("c", "a"),
        folder("c"),
        file("c/d"),
        file("e", b"1"),
        file("e", b"2"),
    )

    assert listing(root) == {
        "a": "file 644 now a file",
        "c": "folder 755",
        "c/d": "file 644 x\n",
        "e": "file 644 2",
    }


def test_an_entry_through_a_symlink_of_the_same_layer_lands_where_it_leads(tmp_path: Path) -> None:
    root = tmp_path / "layer"

    unpack(
        root,
        folder("usr"),
        folder("usr/lib"),
        symlink("lib", "usr/lib"),
        file("lib/a"),
        symlink("lib64", "/usr/lib"),
        file("lib64/b"),
    )

    assert set(listing(root)) == {"usr", "usr/lib", "usr/lib/a", "usr/lib/b", "lib", "lib64"}


def test_a_whiteout_becomes_overlayfs_own(tmp_path: Path) -> None:
    root = tmp_path / "layer"

    unpack(root, folder("a"), whiteout("a/gone"), folder("b"), opaque("b"))

    assert listing(root) == {"a": "folder 755", "a/gone": "whiteout", "b": "folder 755 opaque"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_hides_lower_layers_only_in_either_order(tmp_path: Path, order: int) -> None:
    root = tmp_path / "layer"
    new_file = [whiteout("file"), file("file", b"new")][::order]
    new_folder = [whiteout("folder"), folder("folder")][::order]
    filled = [opaque("filled"), file("filled/new")][::order]

    unpack(root, *new_file, *new_folder, folder("filled"), *filled)

    assert listing(root) == {
        "file": "file 644 new",
        "folder": "folder 755 opaque",
        "filled": "folder 755 opaque",
        "filled/new": "file 644 x\n",
    }


def test_a_whiteout_and_an_entry_below_its_name_give_an_opaque_folder(tmp_path: Path) -> None:
    unpacked = unpack(tmp_path / "layer", whiteout("a"), file("a/b"))

    assert listing(tmp_path / "layer")["a"] == "folder 755 opaque"
    assert unpacked.needs.folders == ()


def test_metadata_files_of_aufs_are_no_part_of_the_image(tmp_path: Path) -> None:
    unpack(tmp_path / "layer", Item(".wh..wh.plnk"), Item(".wh..wh.aufs"), file("real"))

    assert set(listing(tmp_path / "layer")) == {"real"}


def test_a_tar_without_its_closing_zeros_is_whole(tmp_path: Path) -> None:
    content = tar(file("a", b"x" * 512), form=tarfile.GNU_FORMAT)[:1024]

    unpack_tar(tmp_path / "layer", content)

    assert (tmp_path / "layer/a").stat().st_size == 512


@pytest.mark.parametrize("cut", [100, 700, 1100])
def test_a_tar_that_ends_within_an_entry_is_refused(tmp_path: Path, cut: int) -> None:
    content = tar(file("a", b"x" * 5000), form=tarfile.GNU_FORMAT)

    with pytest.raises(BlobInvalid, match="ends within an entry"):
        unpack_tar(tmp_path / "layer", content[:cut])


def test_bytes_that_are_no_tar_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BlobInvalid, match="no tar"):
        unpack_tar(tmp_path / "layer", b"\x7fELF" + bytes(range(256)) * 10)


def test_more_entries_than_allowed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    stream = Bytes(tar(*[file(str(number)) for number in range(6)]))

    with pytest.raises(ImageTooLarge, match="more than 5 files"):
        DirectorySink().unpack(stream, str(tmp_path / "layer"), budget(maximum_entries=5))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    unpack(tmp_path / "layer", *[file(f"{number}/{number}/f") for number in range(200)])

    assert open_below(tmp_path) == []

"""Layers in each form that the store has, mounted and stacked by the real kernel."""

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hpcbox import kernel
from hpcbox.container import root
from hpcbox.errors import NodeSetupFailed
from hpcbox.rootfs import loop, overlay, whiteouts
from hpcbox.rootfs.mounting import LayerMounts
from hpcbox.store.opened_layer import DIRECTORY, EROFS, OpenedLayer
from tests.rootfs.mounted import (
    FORMS,
    SERVICE,
    USER,
    alone,
    container_roots,
    loop_devices,
    make_form,
    opened,
    seen_in,
    with_root,
)
from tests.services.commands import wait_until

ATTRIBUTES = (("ro", os.ST_RDONLY), ("nosuid", os.ST_NOSUID), ("nodev", 0x4))


@pytest.fixture
def below(tmp_path: Path) -> Path:
    """A tree of files, all of root's."""
    folder = tmp_path / "below"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/private").write_text("mine\n" * 1000)
    (folder / "etc/private").chmod(0o600)
    (folder / "closed").mkdir(mode=0o700)
    (folder / "closed/old").write_text("old")
    (folder / "gone").write_text("gone")
    return folder


@pytest.fixture
def above(tmp_path: Path) -> Path:
    """A tree of files that hides some of the other one's."""
    folder = tmp_path / "above"
    (folder / "closed").mkdir(parents=True)
    descriptors = [os.open(folder / name, os.O_RDONLY) for name in (".", "closed")]
    whiteouts.make(b"gone", descriptors[0])
    whiteouts.make_opaque(descriptors[1])
    for descriptor in descriptors:
        os.close(descriptor)
    (folder / "closed/new").write_text("new")
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_of_any_form_belongs_to_the_user(tmp_path: Path, below: Path, form: str) -> None:
    layer = make_form(tmp_path / "layer", form, below)

    def look() -> tuple[int, int, str]:
        status = os.stat("/etc/private")
        return status.st_uid, stat.S_IMODE(status.st_mode), Path("/etc/private").read_text()

    assert seen_in([layer], look) == (USER[0], 0o600, "mine\n" * 1000)


@pytest.mark.parametrize("lower", FORMS)
@pytest.mark.parametrize("upper", FORMS)
def test_layers_of_different_forms_are_stacked(
    tmp_path: Path, below: Path, above: Path, lower: str, upper: str
) -> None:
    layers = [make_form(tmp_path / "0", lower, below), make_form(tmp_path / "1", upper, above)]

    def look() -> tuple[list[str], list[str]]:
        Path("/closed/mine").write_text("the upper is the user's")
        return sorted(os.listdir("/")), sorted(os.listdir("/closed"))

    assert seen_in(layers, look) == (["closed", "etc"], ["mine", "new"])


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_is_mounted_read_only_without_devices_and_setuid(
    tmp_path: Path, below: Path, form: str
) -> None:
    layer = make_form(tmp_path / "layer", form, below)
    mounts = LayerMounts(SERVICE, USER)

    mounts.add(opened(layer))

    flags = os.fstatvfs(mounts.trees[0]).f_flag
    mounts.close()
    assert [name for name, flag in ATTRIBUTES if not flags & flag] == []


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a tmpfs, from whose files erofs can't be mounted directly."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.parametrize("form", ["index", "erofs"])
def test_a_file_system_in_a_file_of_tmpfs_is_mounted_by_loop_devices(
    below: Path, form: str, memory: Path
) -> None:
    layer = make_form(memory / "layer", form, below)
    files = {str(layer / name) for name in os.listdir(layer)}

    content, used = with_root(
        [layer], lambda root: ((root / "etc/private").read_text(), loop_devices() & files)
    )

    assert content == "mine\n" * 1000
    assert used == files
    wait_until(lambda: not loop_devices() & files, timeout_seconds=5, what="no loop device is left")


def test_loop_devices_are_given_back_when_the_process_dies(memory: Path, below: Path) -> None:
    layer = make_form(memory / "layer", "index", below)
    file = str(layer / "image.erofs")

    def die() -> None:
        device = loop.attached(os.open(file, os.O_RDONLY))
        assert device
        assert file in loop_devices()
        os.kill(os.getpid(), kernel.SIGKILL)

    with pytest.raises(EOFError):
        alone(die)

    wait_until(lambda: file not in loop_devices(), timeout_seconds=5, what="the device is free")


def test_processes_that_want_loop_devices_at_once_get_different_ones(
    memory: Path, below: Path
) -> None:
    file = make_form(memory / "layer", "erofs", below) / "image.erofs"
    opened_file = os.open(file, os.O_RDONLY)

    with ThreadPoolExecutor(16) as pool:
        devices = list(pool.map(lambda _: loop.attached(opened_file), range(32)))

    assert len({os.fstat(device).st_rdev for device in devices}) == 32
    for device in (*devices, opened_file):
        os.close(device)


def test_where_loop_devices_are_missing_it_says_what_to_do(memory: Path, below: Path) -> None:
    layer = make_form(memory / "layer", "erofs", below)

    def mount_without_devices() -> None:
        form = opened(layer)
        kernel.mount("none", "/dev", "tmpfs")
        LayerMounts(SERVICE, USER).add(form)

    with pytest.raises(NodeSetupFailed, match="cannot mount a layer") as error:
        alone(mount_without_devices)

    assert "lacks the file system, or loop devices" in str(error.value)
    assert len(str(error.value)) <= 600


def test_mounts_end_with_the_process(tmp_path: Path, below: Path, above: Path) -> None:
    layers = [make_form(tmp_path / "0", "index", below), make_form(tmp_path / "1", "erofs", above)]

    inside = with_root(layers, lambda _root: container_roots())

    assert len(inside) == 1
    assert container_roots() == []


def many(folder: Path, count: int) -> list[Path]:
    """Make layers with one file each, bottom first."""
    layers = []
    for number in range(count):
        tree = folder / f"{number}-tree"
        tree.mkdir()
        (tree / f"file-{number}").touch()
        layers.append(make_form(folder / str(number), "erofs", tree))
    return layers


@pytest.mark.parametrize("way", [overlay.attached_one_by_one, overlay.attached_at_once])
def test_an_image_of_127_layers_is_stacked_either_way(
    tmp_path: Path, way: Callable[[list[int], tuple[int, int], str], object]
) -> None:
    layers = many(tmp_path, 127)

    def stack_and_look() -> int:
        mounts = LayerMounts(SERVICE, USER)
        for layer in layers:
            mounts.add(opened(layer))
        upper = root._upper(USER, 0)
        assert way(mounts.trees, upper, root.ROOT) is not False
        return len(os.listdir(root.ROOT))

    assert alone(stack_and_look) == 127


def test_an_image_of_500_layers_is_stacked(tmp_path: Path) -> None:
    layers = [folder_layer(tmp_path, number) for number in range(500)]

    assert len(seen_in(layers, lambda: os.listdir("/"))) == 500


def folder_layer(folder: Path, number: int) -> Path:
    """Make a layer that holds one file."""
    tree = folder / str(number) / "fs"
    tree.mkdir(parents=True)
    (tree / f"file-{number}").touch()
    return tree.parent


def test_more_layers_than_overlayfs_takes_are_an_error_of_one_line(tmp_path: Path) -> None:
    layers = [folder_layer(tmp_path, number) for number in range(501)]

    with pytest.raises(
        NodeSetupFailed, match=r"cannot stack the image's 501 layers: .*500"
    ) as error:
        seen_in(layers, lambda: None)

    assert len(str(error.value)) <= 600


def test_where_overlayfs_refuses_idmapped_layers_they_are_stacked_as_they_are(
    tmp_path: Path, below: Path
) -> None:
    layer = make_form(tmp_path / "layer", "index", below)

    def stack_on_an_old_kernel() -> tuple[int, int]:
        mounts = LayerMounts(SERVICE, USER, release=(5, 14))
        mounts.add(opened(layer))
        owner = os.stat(f"/proc/self/fd/{mounts.trees[0]}/etc/private").st_uid
        # What overlayfs refuses in any kernel stands for what an old one refuses.
        os.dup2(os.open("/dev/null", os.O_RDONLY), mounts.trees[0])
        root.stack(mounts, USER, 0)
        return owner, os.stat(f"{root.ROOT}/etc/private").st_uid

    assert alone(stack_on_an_old_kernel) == (USER[0], 0)


def test_a_damaged_file_system_is_an_error_of_one_line(tmp_path: Path, below: Path) -> None:
    layer = make_form(tmp_path / "layer", "erofs", below)
    (layer / "image.erofs").write_bytes(os.urandom(8192))

    with pytest.raises(NodeSetupFailed, match="cannot mount a layer") as error:
        seen_in([layer], lambda: None)

    assert "pull it again" in str(error.value)
    assert len(str(error.value)) <= 600


def test_a_form_that_no_layer_has_is_refused() -> None:
    read, write = os.pipe()

    for kind, count in ((b"X", 1), (DIRECTORY, 0), (DIRECTORY, 2), (EROFS, 1), (EROFS, 4)):
        with pytest.raises(NodeSetupFailed):
            LayerMounts(SERVICE, USER).add(OpenedLayer(kind, [os.dup(read) for _ in range(count)]))

    os.close(read)
    os.close(write)


def test_a_file_that_is_not_the_stores_is_not_mounted(tmp_path: Path, below: Path) -> None:
    layer = make_form(tmp_path / "layer", "erofs", below)
    os.chown(layer / "image.erofs", *USER)

    with pytest.raises(NodeSetupFailed, match="doesn't belong to the store's account"):
        seen_in([layer], lambda: None)

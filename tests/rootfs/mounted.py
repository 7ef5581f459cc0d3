"""What the tests of mounted layers share: forms made by real tools, and a place to mount them."""

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hpcbox.container import root as container_root
from hpcbox.rootfs.mounting import LayerMounts
from hpcbox.store.opened_layer import OpenedLayer, open_in

SERVICE = (0, 0)
USER = (2001, 2001)
FORMS = ["fs", "index", "erofs", "squashfs"]

T = TypeVar("T")


def make_form(layer: Path, form: str, source: Path) -> Path:
    """Give a new layer folder the form of a tree of files, which is used up; return the layer."""
    layer.mkdir()
    if form == "fs":
        source.rename(layer / "fs")
        return layer
    command = {
        "erofs": ["mkfs.erofs", "image.erofs", str(source)],
        "index": ["mkfs.erofs", "--chunksize=4096", "--blobdev=data.1", "image.erofs", str(source)],
        "squashfs": ["mksquashfs", str(source), "image.squashfs", "-quiet", "-no-progress"],
    }[form]
    if form == "index":
        (layer / "data.1").touch()
    subprocess.run(command, cwd=layer, check=True, capture_output=True)
    return layer


def opened(layer: Path) -> OpenedLayer:
    """Open a layer's form."""
    folder = os.open(layer, os.O_PATH)
    try:
        return open_in(folder)
    finally:
        os.close(folder)


def with_root(layers: list[Path], act: Callable[[Path], T], user: tuple[int, int] = USER) -> T:
    """Return what a function gives, as root, with the root that layers (bottom first) make.

    It runs in a process and a mount namespace of its own.
    """

    def mount_and_act() -> T:
        mounts = LayerMounts(SERVICE, user)
        for layer in layers:
            mounts.add(opened(layer))
        os.close(container_root.stack(mounts, user, 0))
        return act(Path(container_root.ROOT))

    return alone(mount_and_act)


def seen_in(layers: list[Path], look: Callable[[], T], user: tuple[int, int] = USER) -> T:
    """Return what a function sees as the user in the root that layers (bottom first) make."""

    def enter_and_look(root: Path) -> T:
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
        os.setresuid(user[0], user[0], user[0])
        return look()

    return with_root(layers, enter_and_look, user)


def alone(act: Callable[[], T]) -> T:
    """Return what a function gives in a process and a mount namespace of its own.

    Its errors are raised here.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            container_root.enter_private_namespace()
            result: tuple[bool, object] = (True, act())
        except BaseException as error:  # noqa: BLE001 - raised by the parent
            result = (False, error)
        with open(writer, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        fine, value = pickle.load(pipe)  # noqa: S301 - this process's own copy wrote it
    os.waitpid(child, 0)
    if not fine:
        raise value
    return value  # type: ignore[no-any-return]


def loop_devices() -> set[str]:
    """Return the files behind all loop devices of this machine."""
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return {file.read_text().strip() for file in files if file.exists()}


def container_roots() -> list[str]:
    """Return the container roots among the mounts that this process sees."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if f" {container_root.ROOT} " in line]

"""The ways from a registry's image to a ready root that bench-images compares."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from image_pull import FLOOR, SINKS, manifest_of, opened
from measured import Cost, measure

from hpcbox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PULL = Path(__file__).with_name("image_pull.py")
PODMAN, UMOCI = "podman", "skopeo+umoci"
PEERS = {PODMAN: ("podman",), UMOCI: ("skopeo", "umoci")}
OWN = (FLOOR, *SINKS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where ways run: the registry's address, a scratch folder on a disk, the service's uid."""

    registry: str
    scratch: Path
    uid: int

    def folder(self, way: str, image: str) -> Path:
        """What a way keeps of an image."""
        return self.scratch / f"{image}-{way}"


def run(place: Place, way: str, image: str) -> Cost:
    """Bring an image by one way into an empty folder; what was there before is removed.

    Raises:
        SystemExit: the way failed.
    """
    folder = place.folder(way, image)
    remove(folder)
    folder.mkdir(mode=0o755)
    temporary = folder / "tmp"
    temporary.mkdir()
    _forget_disk()
    _warm_registry(place, image)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": os.fspath(temporary),
        "HOME": os.fspath(temporary),
    }
    return measure(_command(place, way, image, folder), folder, environment)


def again(place: Place, way: str, image: str) -> list[str]:
    """Return the command that pulls an image once more into the folder that has it."""
    return _pull(place, way, image, place.folder(way, image))


def missing_programs(way: str) -> list[str]:
    """Return what of a peer isn't installed."""
    return [name for name in PEERS.get(way, ()) if shutil.which(name) is None]


def remove(folder: Path) -> None:
    """Remove what a way left, its mounts first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        places = [line.split()[4] for line in lines]
    for place in reversed(places):
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=True)
    shutil.rmtree(folder, ignore_errors=not folder.exists())


def _forget_disk() -> None:
    """Let the kernel know of the disk only what lies on it.

    ext4 goes round inodes that it remembers as deleted minutes ago: after a tree of a hundred
    thousand files was removed, making the next one would take twice the CPU time.
    """
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("1")


def _warm_registry(place: Place, image: str) -> None:
    """Have the registry read from memory: the ways are compared, not its disk."""
    source = opened(f"{place.registry}/{image}:1", Settings(store=os.fspath(place.scratch)))
    for layer in manifest_of(source.resolve()).layers:
        with closing(source.open_blob(layer)) as blob:
            while blob.read(2**20):
                pass


def _command(place: Place, way: str, image: str, folder: Path) -> Sequence[str]:
    commands: dict[str, Callable[[], Sequence[str]]] = {
        PODMAN: lambda: _podman(place, image, folder),
        UMOCI: lambda: _umoci(place, image, folder),
    }
    return commands.get(way, lambda: _pull(place, way, image, folder))()


def _pull(place: Place, way: str, image: str, folder: Path) -> list[str]:
    store = folder / "store"
    if not store.exists():
        store.mkdir(mode=0o700)
        os.chown(store, place.uid, place.uid)
    reference = f"{place.registry}/{image}:1"
    return [sys.executable, os.fspath(PULL), way, os.fspath(store), str(place.uid), reference]


def _podman(place: Place, image: str, folder: Path) -> list[str]:
    return [
        "podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run",
        "--storage-driver", "overlay", "--events-backend", "none", "--cgroup-manager", "cgroupfs",
        "pull", "--quiet", "--tls-verify=false", f"{place.registry}/{image}:1",
    ]  # fmt: skip


def _umoci(place: Place, image: str, folder: Path) -> list[str]:
    script = (
        'skopeo copy --quiet --insecure-policy --src-tls-verify=false "docker://$1" "oci:$2/oci:1"'
        ' && umoci raw unpack --image "$2/oci:1" "$2/root"'
    )
    return ["sh", "-c", script, "sh", f"{place.registry}/{image}:1", os.fspath(folder)]

"""A store that can't take an image says so in one line, and shows nothing half made."""

import os
import subprocess
import sys
from pathlib import Path

from tests.services.registry import Registry
from tests.services.small_images import file, push_image, tar
from tests.store.pulling import finish, hpcbox


def pull_with_mount(mount: str, image: str, store: Path) -> tuple[int, str, str]:
    """Pull in a mount namespace in which something else is mounted first."""
    listing = 'find "$HPCBOX_STORE/layers" "$HPCBOX_STORE/images" "$HPCBOX_STORE/tmp" -mindepth 1'
    script = f'{mount}; "$0" -m hpcbox pull "$1"; code=$?; {listing} 2>/dev/null; exit $code'
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, image],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "HPCBOX_STORE": str(store)},
        timeout=60,
    )
    return result.returncode, result.stdout, result.stderr


def test_a_full_store_is_told_and_holds_nothing(registry: Registry, store: Path) -> None:
    push_image(registry, "full/image:1", tar(file("big", os.urandom(4_000_000))), how="none")
    store.mkdir(mode=0o700)

    code, out, err = pull_with_mount(
        f"mount -t tmpfs -o size=2m,mode=0700 tmpfs {store}",
        f"{registry.address}/full/image:1",
        store,
    )

    assert code == 73
    assert "no space is left in store" in err.splitlines()[-1]
    assert out == ""


def test_a_store_without_inodes_is_full(registry: Registry, store: Path) -> None:
    layer = tar(*[file(str(number)) for number in range(200)])
    push_image(registry, "full/inodes:1", layer)
    store.mkdir(mode=0o700)

    code, out, err = pull_with_mount(
        f"mount -t tmpfs -o nr_inodes=100,mode=0700 tmpfs {store}",
        f"{registry.address}/full/inodes:1",
        store,
    )

    assert code == 73, err
    assert out == ""


def test_a_read_only_store_is_told(registry: Registry, store: Path) -> None:
    push_image(registry, "ro/image:1", tar(file("a")))
    store.mkdir(mode=0o700)

    code, _, err = pull_with_mount(
        f"mount --bind {store} {store} && mount -o remount,ro,bind {store}",
        f"{registry.address}/ro/image:1",
        store,
    )

    assert code == 74
    assert "read-only file system" in err
    assert err.count("\n") == 1


def test_a_store_below_a_file_is_told(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    code, _, err = finish(
        hpcbox("pull", f"{registry.address}/a:1", store=tmp_path / "file" / "store")
    )

    assert code == 74
    assert err.count("\n") == 1

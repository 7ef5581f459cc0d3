"""erofs's own tool finds nothing wrong with the images, and extracts from them what is in the tar.

Debian 12's version doesn't know blocks of 512 bytes; the next release's does.
"""

import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.store.paths import EROFS_IMAGE
from tests.rootfs.images import Unpacks, seen
from tests.rootfs.odd_layers import ordinary_layer
from tests.rootfs.unpacking import Bytes, budget
from tests.services import debian
from tests.services.spec import cache_root

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root() -> Path:
    """A root of the next Debian with its erofs-utils."""
    cache_root().mkdir(mode=0o700, parents=True, exist_ok=True)
    # The lock of those who make images of such roots.
    with open(cache_root() / "images.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return debian.root(debian.NEXT_SUITE, ("erofs-utils",))


@pytest.fixture
def scratch(root: Path) -> Iterator[Path]:
    """A folder that commands in the root can reach."""
    with TemporaryDirectory(dir=root / "tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    "sink", [pytest.param(IndexSink(), id="index"), pytest.param(ErofsSink(), id="full")]
)
def test_fsck_accepts_an_image_and_extracts_it(sink: Unpacks, root: Path, scratch: Path) -> None:
    layer = ordinary_layer()
    made = scratch / "layer"
    made.mkdir()
    sink.unpack(Bytes(layer), str(made), budget())

    inside = Path("/", made.relative_to(root))
    devices = [f"--device={inside / data.name}" for data in sorted(made.glob("data.*"))]
    extract = f"--extract={inside.parent / 'extracted'}"
    command = ["chroot", str(root), "fsck.erofs", extract, *devices, str(inside / EROFS_IMAGE)]
    subprocess.run(command, check=True)

    tree = scratch / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xpf", "-", "-C", str(tree)], input=layer, check=True)
    extracted = _without_times(scratch / "extracted")
    assert extracted == _without_times(tree)


def _without_times(folder: Path) -> dict[str, object]:
    # fsck.erofs makes copies of hardlinks, restores no attributes, and folders get new times.
    return {path: (one.kind, one.mode, one.content) for path, one in seen(folder).items() if path}

"""Small images in a store of this machine's root, for containers that need no lab."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.container import asking, verbs
from tests.services import odd_registry as odd_registry_service
from tests.services.registry import Registry
from tests.services.slurm import Cluster
from tests.services.small_images import file, folder, push_image, symlink, tar
from tests.store.pulling import pull_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.small_images import Item

PATH = "/bin:/usr/bin"
_APPLETS = (
    *("sh", "cat", "echo", "env", "id", "kill", "ls", "mkdir", "mount", "pwd", "sleep"),
    *("stat", "touch", "true", "umount", "unshare", "wc", "yes"),
)


@pytest.fixture(scope="session")
def image_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The real docker-registry."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def image_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of root's own that all of these tests share."""
    return tmp_path_factory.mktemp("images") / "store"


def busybox() -> list[Item]:
    """The entries of a root with a shell and little else."""
    binary = Path("/bin/busybox").read_bytes()
    links = [symlink(f"bin/{name}", "busybox") for name in _APPLETS]
    return [folder("bin"), file("bin/busybox", binary, mode=0o755), *links]


@pytest.fixture(scope="session")
def tools(image_registry: Registry, image_store: Path) -> str:
    """Digest of an image with a shell; it has no /proc, /sys, /dev, /tmp or /etc."""
    push_image(
        image_registry, "tools:1", tar(*busybox()),
        Env=[f"PATH={PATH}", "COLOUR=image"], WorkingDir="/bin", Cmd=["echo", "by default"],
    )  # fmt: skip
    return pull_here(f"{image_registry.address}/tools:1", image_store).digest


@pytest.fixture(scope="session")
def musl(
    image_registry: Registry, image_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Digest of an image whose one program is linked with musl; /etc can't be written."""
    made = tmp_path_factory.mktemp("musl")
    (made / "hello.c").write_text(
        '#include <stdio.h>\nint main(void) { return puts("musl") < 0; }\n'
    )
    subprocess.run(["musl-gcc", "-o", made / "hello", made / "hello.c"], check=True)
    loader = next(Path("/usr/lib").glob("*-linux-musl/libc.so")).read_bytes()
    name = f"lib/ld-musl-{os.uname().machine}.so.1"
    layer = tar(
        folder("lib"), file(name, loader, mode=0o755),
        folder("etc", mode=0o555), file("etc/passwd", b"", mode=0o444),
        file("hello", (made / "hello").read_bytes(), mode=0o755),
    )  # fmt: skip
    push_image(image_registry, "musl:1", layer, Cmd=["/hello"])
    return pull_here(f"{image_registry.address}/musl:1", image_store).digest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A node with the plugin, on which alice's own store has the image too."""
    with Cluster(nodes=1, name=f"rules{os.getpid()}") as running:
        running.run(["hpcbox", "pull", asking.IMAGE], node="n1", check=True)
        running.run(["srun", f"--container={asking.IMAGE}", "true"], check=True)
        yield running


@pytest.fixture(params=["user", "site"])
def way(cluster: Cluster, request: pytest.FixtureRequest) -> asking.Way:
    """A way into a container: `hpcbox run`, or srun with the plugin."""
    return asking.Way(cluster, site=request.param == "site")


@pytest.fixture(scope="session")
def bare(image_registry: Registry, image_store: Path) -> str:
    """Reference of an image in the store whose config names no command."""
    push_image(image_registry, "bare:1", tar(*busybox()))
    reference = f"{image_registry.address}/bare:1"
    pull_here(reference, image_store)
    return reference


@pytest.fixture
def verb(image_registry: Registry, image_store: Path, tools: str) -> verbs.Verb:
    """`hpcbox run` of the image with tools."""
    assert tools
    return verbs.Verb(image_store, f"{image_registry.address}/tools:1")


@pytest.fixture(scope="session")
def odd_registry(cluster: Cluster) -> Iterator[str]:
    """HOST:PORT of a registry in the lab whose images are special."""
    with odd_registry_service.serving(cluster) as address:
        yield address

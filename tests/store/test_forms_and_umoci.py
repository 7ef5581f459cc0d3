"""Whatever form the store keeps layers in, the kernel shows the tree that umoci unpacks."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcbox.image.reference import Reference
from hpcbox.image.registry import RegistrySource
from hpcbox.rootfs.sinks import sink_of
from hpcbox.settings import Settings
from hpcbox.store import paths
from hpcbox.store.forms import FORMS
from hpcbox.store.pull import Limits, pull
from tests.rootfs.mounted import with_root
from tests.services import nasty_image
from tests.services.registry import Registry
from tests.services.small_images import push_image
from tests.services.trees import differences, tree_of


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The registry that has an image with everything that the specification allows."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        push_image(running, "nasty:1", *nasty_image.layers())
        yield running.address


@pytest.fixture(scope="module")
def theirs(registry: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What umoci makes of the image, but for what we leave out by design."""
    folder = tmp_path_factory.mktemp("umoci")
    copy = ["skopeo", "copy", "--quiet", "--src-tls-verify=false"]
    subprocess.run(
        [*copy, f"docker://{registry}/nasty:1", f"oci:{folder}/oci:1"], check=True, timeout=60
    )
    umoci = ["umoci", "raw", "unpack", "--image", f"{folder}/oci:1", f"{folder}/root"]
    subprocess.run(umoci, check=True, timeout=60, capture_output=True)
    found = tree_of(folder / "root")
    for name in nasty_image.SETUID:
        found[name] = found[name].replace(" 4755 ", " 755 ").replace(" 2755 ", " 755 ")
    for name in nasty_image.DEVICES:
        del found[name]
    return linked(found)


def linked(tree: dict[str, str]) -> dict[str, str]:
    """Leave out of a tree how many names its files have: a name that a layer hides counts still."""
    return {path: what.removesuffix(f" same as {path}") for path, what in tree.items()}


@pytest.mark.parametrize("form", FORMS)
def test_the_kernel_shows_the_tree_that_umoci_makes(
    form: str, registry: str, theirs: dict[str, str], tmp_path: Path
) -> None:
    store = f"{tmp_path}/store"
    source = RegistrySource(Reference(registry, "nasty", "1"), Settings(store=store))
    limits = Limits(2**34, 10**6, 3)

    record = pull(source, store, sink_of(form), limits, lambda _progress: None)

    layers = [Path(paths.layer(store, name)) for name in record.layers]
    assert differences(linked(with_root(layers, tree_of)), theirs) == []

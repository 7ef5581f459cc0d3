"""What the tests of plain folders share: layers made in memory and laid over each other."""

from collections.abc import Sequence
from pathlib import Path

from hpcbox.rootfs.plain import PlainLayer, PlainRoot
from hpcbox.store import trees
from hpcbox.store.sink import Budget
from tests.rootfs.unpacking import Bytes, budget
from tests.services.small_images import Item, tar


def laid(root: Path, *layers: Sequence[Item]) -> Path:
    """Lay layers of these entries (bottom first) over each other in a new folder."""
    return laid_tars(root, *(tar(*items) for items in layers))


def laid_tars(root: Path, *contents: bytes, limits: Budget | None = None) -> Path:
    """Lay layers of these tars over each other as `hpcbox unpack` does; `root` is made."""
    aside = root.with_name(f"{root.name}.aside")
    aside.mkdir(parents=True)
    try:
        plain = [PlainLayer(f"{aside}/{number}") for number in range(len(contents))]
        for layer, content in zip(plain, contents, strict=True):
            layer.unpack(Bytes(content), limits or budget())
        whole = PlainRoot(str(root))
        for layer in plain:
            whole.lay(layer)
        whole.close()
    finally:
        trees.remove(str(aside))
    return root

"""The settled form of a layer (settle.py), in a layer folder of its own: folder or image."""

import os
from collections.abc import Sequence

from hpcbox.rootfs.erofs_copy import ErofsCopy
from hpcbox.rootfs.folder_copy import FolderCopy
from hpcbox.rootfs.settle import fits, opened, settle
from hpcbox.rootfs.squashfs_copy import SquashfsCopy
from hpcbox.rootfs.tree_copy import TreeCopy
from hpcbox.store.opened_layer import DIRECTORY, EROFS, SQUASHFS
from hpcbox.store.paths import FOLDER
from hpcbox.store.sink import Needs

_COPIES: dict[bytes, type[TreeCopy]] = {EROFS: ErofsCopy, SQUASHFS: SquashfsCopy}


class SettlingSink:
    """What all sinks do alike once a layer has been unpacked: the form of each is told from it."""

    def fits(self, needs: Needs, below: Sequence[int]) -> bool:
        """Say whether a layer with these needs may lie as it is on these layers; see LayerSink."""
        return fits(needs, below)

    def settle(self, needs: Needs, layer: int, below: Sequence[int], folder: str) -> None:
        """Make the form of a layer that belongs on these layers; see LayerSink."""
        make(needs, layer, below, folder)


def make(needs: Needs, layer: int, below: Sequence[int], folder: str) -> None:
    """Make, in a new layer folder, the form of a layer that belongs on these layers.

    The layer keeps the kind of form that it has; `layer` and `below` (bottom first) are descriptors
    of layer folders.

    Raises:
        LayerRejected: there is none.
        StoreError: a layer can't be read.
        OSError: the folder can't be written.
    """
    with opened([*below, layer]) as forms:
        form = forms[-1]
        if form.kind == DIRECTORY:
            os.mkdir(f"{folder}/{FOLDER}", 0o755)
            with FolderCopy(f"{folder}/{FOLDER}") as copy:
                copy.fill(form.descriptors[0])
                settle(needs, copy, forms[:-1])
        else:
            with _COPIES[form.kind](folder) as tree:
                tree.fill(layer, form.descriptors)
                settle(needs, tree, forms[:-1])

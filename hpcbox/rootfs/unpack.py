"""Layers as plain folders that overlayfs stacks as they are: the sink of user mode.

entries.py has the rules for what a tar's entries become, settle.py those for layers that lean on
the layers below.
"""

import os

from hpcbox.image.source import ByteStream
from hpcbox.rootfs import tar, whiteouts
from hpcbox.rootfs.beneath import Beneath
from hpcbox.rootfs.entries import Form, Unpacking
from hpcbox.rootfs.settled import SettlingSink
from hpcbox.store.paths import FOLDER
from hpcbox.store.sink import Budget, Unpacked

_FORM = Form(whiteouts.make, whiteouts.make_opaque, os.fchmod)


class DirectorySink(SettlingSink):
    """Makes layers that are plain folders: overlayfs stacks them as they are."""

    def unpack(self, stream: ByteStream, folder: str, budget: Budget) -> Unpacked:
        """Unpack a tar into `fs` of a layer folder.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            OSError: the folder can't be written.
        """
        os.mkdir(f"{folder}/{FOLDER}", 0o755)
        beneath = Beneath(f"{folder}/{FOLDER}")
        try:
            return Unpacking(beneath, budget, _FORM).run(tar.TarReader(tar.pieces_of(stream)))
        finally:
            beneath.close()

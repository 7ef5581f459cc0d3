"""What the store asks of the code that turns a layer's tar into a form that can be mounted.

The store streams and verifies; a sink unpacks. A sink makes each layer by itself, without a look at
the layers below: so layers are unpacked in parallel and shared by all images. What depends on the
layers below is written down as `Needs`, and when all layers of an image are there the sink says
whether the layer fits them as it is, and else makes a settled copy for this stack.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from hpcbox.errors import ImageTooLarge, StoreError
from hpcbox.image.progress import size_text
from hpcbox.image.source import ByteStream


@dataclass(frozen=True, slots=True)
class Needs:
    """What of a layer depends on the layers below it; paths are relative and in file system form.

    Attributes:
        folders: folders that the layer uses without an entry of their own, parents first. Below
            there may be a symlink of that name (usr-merge), or a folder with another mode.
        linked_folders: those of them that entries reached through a symlink of this layer; they
            must exist below.
        links: (name, target) of hardlinks to files that this layer doesn't hold.
    """

    folders: tuple[str, ...] = ()
    linked_folders: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the form in which layer.json holds this."""
        return {
            "folders": list(self.folders),
            "linked_folders": list(self.linked_folders),
            "links": [list(pair) for pair in self.links],
        }

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "Needs":
        """Return what `to_json` wrote.

        Raises:
            StoreError: it wasn't written by `to_json`.
        """
        try:
            return cls(
                tuple(str(name) for name in table["folders"]),
                tuple(str(name) for name in table["linked_folders"]),
                tuple((str(name), str(target)) for name, target in table["links"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"a layer's record is damaged: {error}") from error


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A layer that a sink has made.

    Attributes:
        entries: files, folders, links and whiteouts in it.
        needs: what depends on the layers below.
    """

    entries: int
    needs: Needs


class LayerSink(Protocol):
    """Makes mountable layers; its methods may be called from several threads."""

    def unpack(self, stream: ByteStream, folder: str, budget: "Budget") -> Unpacked:
        """Make a layer's form of a tar, in a layer folder that is new and empty.

        The stream need not be read to its end. store/paths.py lists the forms.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            OSError: the folder can't be written.
        """

    def fits(self, needs: Needs, below: Sequence[int]) -> bool:
        """Say whether a layer with these needs may lie as it is on these layers.

        `below` are descriptors of layer folders, bottom first; the layers may have any form.

        Raises:
            LayerRejected: it may not lie on them in any form.
        """

    def settle(self, needs: Needs, layer: int, below: Sequence[int], folder: str) -> None:
        """Make, in a new layer folder, the form of a layer that belongs on these layers.

        `layer` and `below` are descriptors of layer folders.

        Raises:
            LayerRejected: there is none.
            OSError: the folder can't be written.
        """


class Budget:
    """Limits of one image, shared by the threads that unpack its layers."""

    def __init__(self, maximum_bytes: int, maximum_entries: int) -> None:
        self._maximum_bytes = maximum_bytes
        self._maximum_entries = maximum_entries
        self._bytes = 0
        self._entries = 0
        self._lock = threading.Lock()

    @property
    def spent_bytes(self) -> int:
        """Uncompressed bytes so far."""
        return self._bytes

    def spend_bytes(self, count: int) -> None:
        """Count uncompressed bytes.

        Raises:
            ImageTooLarge: the image has more than the settings allow.
        """
        with self._lock:
            self._bytes += count
            if self._bytes > self._maximum_bytes:
                raise ImageTooLarge(
                    f"the image is larger than {size_text(self._maximum_bytes)} uncompressed",
                    hint="--max-bytes, or the setting max_image_bytes, allows more",
                )

    def spend_entries(self, count: int) -> None:
        """Count files, folders and links.

        Raises:
            ImageTooLarge: the image has more than the settings allow.
        """
        with self._lock:
            self._entries += count
            if self._entries > self._maximum_entries:
                raise ImageTooLarge(
                    f"the image has more than {self._maximum_entries} files",
                    hint="--max-entries, or the setting max_entries, allows more",
                )

    @contextmanager
    def attempt(self) -> Iterator["Budget"]:
        """Give a budget that spends of this one; what it has spent comes back if the block raises.

        For work that may be done anew.
        """
        spent = _Attempt(self)
        try:
            yield spent
        except BaseException:
            spent.give_back()
            raise


class _Attempt(Budget):
    def __init__(self, whole: Budget) -> None:
        super().__init__(0, 0)
        self._whole = whole

    def spend_bytes(self, count: int) -> None:
        self._bytes += count
        self._whole.spend_bytes(count)

    def spend_entries(self, count: int) -> None:
        self._entries += count
        self._whole.spend_entries(count)

    def give_back(self) -> None:
        # Less than before is never too much.
        self._whole.spend_bytes(-self._bytes)
        self._whole.spend_entries(-self._entries)

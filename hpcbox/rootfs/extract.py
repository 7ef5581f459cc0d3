"""An image as a plain folder, straight from where it comes from: no store has a part in it.

All layers at the same time: socket → sha256 (blob) → decompress → sha256 (diff_id) → a folder each
→ laid over each other. Everything is made in a folder beside the target, which is renamed when it
is whole; whatever fails, nothing is left.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from hpcbox.errors import OutputError, RequestError, shorten
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor
from hpcbox.image.meter import Meter
from hpcbox.image.opened import OpenedImage, layer_tar, open_image
from hpcbox.image.progress import Report
from hpcbox.image.source import ImageSource
from hpcbox.image.verified import VerifiedStream, fetched
from hpcbox.rootfs.plain import PlainLayer, PlainRoot
from hpcbox.store import trees
from hpcbox.store.parallel import Cancellation, run_all
from hpcbox.store.pull import Limits
from hpcbox.store.sink import Budget


@dataclass(frozen=True, slots=True)
class Extracted:
    """An image that was made a plain folder.

    Attributes:
        folder: its absolute path.
        reference: where it came from, in its canonical form.
        image: what its manifest and config say.
        entries: of all layers together.
        size_bytes: of the layers' tars together.
    """

    folder: str
    reference: str
    image: OpenedImage
    entries: int
    size_bytes: int


def extract(source: ImageSource, folder: str, limits: Limits, report: Report) -> Extracted:
    """Unpack an image into a folder that doesn't exist or is empty.

    Raises:
        ImageError, LayerRejected: the image can't be had or is not what its digests promise.
        RequestError: the folder is in use.
        OutputError: it can't be made.
    """
    target = os.path.realpath(folder)
    with _told(folder):
        _check_target(target, folder)
    with _told(folder), Meter(report) as meter:
        resolved = source.resolve()
        meter.phase("pulling", resolved.reference)
        image = open_image(source, resolved)
        with _beside(target) as aside:
            extraction = _Extraction(source, image, limits, meter)
            root = extraction.make(aside, limits.threads)
            _put(root, target, folder)
        meter.phase("ready")
        return Extracted(
            target, resolved.reference, image, extraction.entries, extraction.size_bytes
        )


class _Extraction:
    def __init__(
        self, source: ImageSource, image: OpenedImage, limits: Limits, meter: Meter
    ) -> None:
        self._source = source
        self._image = image
        self._meter = meter
        self._budget = Budget(limits.maximum_bytes, limits.maximum_entries)
        self._cancellation = Cancellation()
        self.entries = 0
        self.size_bytes = 0

    def make(self, aside: str, threads: int) -> str:
        """Make the image's root in a folder; return its path there."""
        jobs = []
        made: dict[str, PlainLayer] = {}
        paths = [f"{aside}/{number}" for number in range(len(self._image.layers))]
        self._meter.expect(len(self._image.layers))
        for path, (diff_id, descriptor) in zip(paths, self._image.layers, strict=True):
            self._meter.expect_bytes(descriptor.size_bytes)
            jobs.append(partial(self._fetch, descriptor, diff_id, path, made))
        run_all(jobs, max(threads, 1), self._cancellation)
        root = PlainRoot(f"{aside}/root")
        with self._meter.at("settling"):
            for path in paths:
                root.lay(made[path])
                self.entries += made[path].entries
            root.close()
        self.size_bytes = self._budget.spent_bytes
        return f"{aside}/root"

    def _fetch(
        self, descriptor: Descriptor, diff_id: Digest, path: str, made: dict[str, PlainLayer]
    ) -> None:
        def attempt() -> None:
            # What a first attempt has left is removed with all that lies aside.
            layer = PlainLayer(f"{path}.anew" if os.path.lexists(path) else path)
            with self._budget.attempt() as budget:
                self._unpack(descriptor, diff_id, layer, budget)
            made[path] = layer

        fetched(descriptor.digest, attempt)
        self._meter.layer_done()

    def _unpack(
        self, descriptor: Descriptor, diff_id: Digest, layer: PlainLayer, budget: Budget
    ) -> None:
        def unpacked(piece: bytes) -> None:
            self._cancellation.check()
            budget.spend_bytes(len(piece))

        source = self._source.open_blob(descriptor)
        blob = VerifiedStream(
            source, descriptor.digest, descriptor.size_bytes, "blob", self._received
        )
        with (
            self._meter.at("pulling"),
            closing(blob),
            self._cancellation.aborting(blob),
            layer_tar(blob, diff_id, unpacked) as tar,
        ):
            layer.unpack(tar, budget)

    def _received(self, piece: bytes) -> None:
        self._cancellation.check()
        self._meter.received(piece)


def _check_target(target: str, named: str) -> None:
    """Refuse what the rename would refuse at the end, before anything is fetched."""
    shown = shorten(named, 200)
    try:
        if os.listdir(target):
            raise RequestError(
                f"'{shown}' is not empty", hint="name a folder that doesn't exist, or is empty"
            )
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(target)):
            raise RequestError(
                f"'{shown}' can't be made: the folder that is to hold it doesn't exist"
            ) from None
    except NotADirectoryError:
        raise RequestError(f"'{shown}' is no folder") from None
    if os.path.ismount(target):
        raise RequestError(f"'{shown}' is a mount point", hint="name a folder in it")


@contextmanager
def _beside(target: str) -> Iterator[str]:
    aside = f"{target}.hpcbox-{secrets.token_hex(4)}"
    os.mkdir(aside, 0o700)
    try:
        yield aside
    finally:
        trees.remove(aside)


def _put(root: str, target: str, named: str) -> None:
    mode = os.stat(root).st_mode & 0o7777
    # A folder that moves to another is written itself: its `..` changes.
    os.chmod(root, 0o700)
    try:
        os.rename(root, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise RequestError(
                f"'{shorten(named, 200)}' was made by somebody else in the meantime"
            ) from error
        raise
    os.chmod(target, mode)


@contextmanager
def _told(folder: str) -> Iterator[None]:
    """Turn OSError into OutputError."""
    try:
        yield
    except OSError as error:
        doing = f"cannot unpack into '{shorten(folder, 200)}'"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            kind = "quota" if error.errno == errno.EDQUOT else "space"
            raise OutputError(
                f"{doing}: no {kind} is left", hint="name a folder on another file system"
            ) from error
        raise OutputError(f"{doing}: {error.strerror or error}") from error

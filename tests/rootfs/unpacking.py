"""What the tests of unpacking share: a sink at work on tars made in memory."""

import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hpcbox.rootfs import whiteouts
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.store.sink import Budget, Needs, Unpacked
from tests.services.small_images import Item, tar


class Bytes:
    """Bytes as the stream that a sink reads, in pieces of any size."""

    def __init__(self, content: bytes, piece: int = 2**18) -> None:
        self._file = io.BytesIO(content)
        self._piece = piece

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        return self._file.read(min(size, self._piece))

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


def budget(maximum_bytes: int = 2**40, maximum_entries: int = 10**6) -> Budget:
    """Limits that no test meets by chance."""
    return Budget(maximum_bytes, maximum_entries)


def unpack(folder: Path, *items: Item) -> Unpacked:
    """Unpack a layer of these entries into a new folder."""
    return unpack_tar(folder, tar(*items))


def unpack_tar(folder: Path, content: bytes, piece: int = 2**18) -> Unpacked:
    """Unpack a tar into a new folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as layer:
        try:
            return DirectorySink().unpack(Bytes(content, piece), layer, budget())
        finally:
            (Path(layer) / "fs").rename(folder)


def stacked(root: Path, *layers: Sequence[Item]) -> list[Path]:
    """Unpack layers (bottom first) and settle them as a pull does; return their folders."""
    sink = DirectorySink()
    folders: list[Path] = []
    for number, items in enumerate(layers):
        folder = root / str(number)
        needs = unpack(folder / "fs", *items).needs
        opened = [os.open(path, os.O_RDONLY) for path in [*folders, folder]]
        try:
            if needs != Needs() and not sink.fits(needs, opened[:-1]):
                settled = root / f"{number}-settled"
                settled.mkdir()
                sink.settle(needs, opened[-1], opened[:-1], str(settled))
                folder = settled
        finally:
            for descriptor in opened:
                os.close(descriptor)
        folders.append(folder)
    return [folder / "fs" for folder in folders]


def merged(folders: Sequence[Path]) -> dict[str, str]:
    """Return what overlayfs shows of the layers (bottom first): path → what it is.

    Done by hand, so that the tests need no mount: a real overlay is compared in one of them.
    """
    seen: dict[str, str] = {}
    for folder in folders:
        for path, what in listing(folder).items():
            merges = what.startswith("folder") and "opaque" not in what
            if not merges or not seen.get(path, what).startswith("folder"):
                _forget(seen, path)
            if what != "whiteout":
                seen[path] = what.replace(" opaque", "")
    return seen


def listing(folder: Path) -> dict[str, str]:
    """Return path → what it is (`folder 755`, `file 644 CONTENT`, `link TARGET`, `whiteout`…)."""
    found = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = _what(path)
    return found


def open_below(folder: Path) -> list[str]:
    """Return the files and folders below a folder that this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            # That of the listing itself.
            continue
        if path.startswith(f"{folder}/"):
            found.append(path)
    return found


def _what(path: Path) -> str:
    status = path.lstat()
    if whiteouts.is_whiteout(status):
        return "whiteout"
    if stat.S_ISLNK(status.st_mode):
        return f"link {os.readlink(path)}"
    mode = f"{stat.S_IMODE(status.st_mode):o}"
    if stat.S_ISDIR(status.st_mode):
        is_opaque = whiteouts.OPAQUE_ATTRIBUTE in os.listxattr(path)
        return f"folder {mode}" + (" opaque" if is_opaque else "")
    if stat.S_ISREG(status.st_mode):
        return f"file {mode} {path.read_text(errors='replace')}"
    return f"fifo {mode}" if stat.S_ISFIFO(status.st_mode) else "other"


def _forget(seen: dict[str, str], path: str) -> None:
    for known in [known for known in seen if known == path or known.startswith(f"{path}/")]:
        del seen[known]

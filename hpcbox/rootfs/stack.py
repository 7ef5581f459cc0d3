"""What a stack of layers shows, read without mounting it: overlayfs's rules for lookups.

Symlinks are never followed here.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from hpcbox.rootfs import layer_view
from hpcbox.rootfs.layer_view import Folder, LayerFolder
from hpcbox.rootfs.tree import FOLDER, WHITEOUT, Node
from hpcbox.store.opened_layer import OpenedLayer

_Any = TypeVar("_Any", bound=Folder)


@contextmanager
def opened(forms: Sequence[OpenedLayer]) -> Iterator["Stack"]:
    """Give the stack of layers (bottom first); the forms stay the caller's.

    Raises:
        StoreError: a layer is damaged or can't be read.
    """
    with ExitStack() as views:
        roots = []
        for form in forms:
            roots.append(layer_view.opened(form))
            views.callback(roots[-1].close)
        yield Stack(roots)


class Stack:
    """Layers by their root folders, bottom first; they stay the caller's."""

    def __init__(self, layers: Sequence[LayerFolder]) -> None:
        self._top_first = list(reversed(layers))

    def top_first(self) -> list[LayerFolder]:
        """Return the layers' root folders, which stay whose they are."""
        return self._top_first

    def look(self, path: bytes) -> Node | None:
        """Return what stands at a path (b"" is the root), or None."""
        return _look(self._top_first, path)

    def look_through(self, top: Folder, path: bytes) -> Node | None:
        """Return what stands at a path when there is one more layer on top, or None."""
        return _look([top, *self._top_first], path)

    def open(self, path: bytes) -> int:
        """Open the file that stands at a path for reading; the descriptor is the caller's.

        Raises:
            FileNotFoundError: there is nothing.
            OSError: it is a symlink, or can't be opened.
        """
        with self.holding(path) as found:
            if found is None:
                raise FileNotFoundError
            return found[0].open(found[1])

    def names(self, path: bytes, maximum: int) -> list[bytes]:
        """Return the names in a folder, the first `maximum` that are met.

        Raises:
            OSError: there is no such folder.
        """
        with _merged(self._top_first, path) as folders:
            if not folders:
                raise FileNotFoundError
            # Name → whether it is shown: a whiteout hides its name in the layers below.
            met: dict[bytes, bool] = {}
            for folder in folders:
                _meet(folder, met, maximum)
            return [name for name, shown in met.items() if shown]

    @contextmanager
    def holding(self, path: bytes) -> Iterator[tuple[LayerFolder, bytes, Node] | None]:
        """Give the folder that holds what stands at a path, its name in it, and what it is.

        None when nothing stands there. The root is in no folder: `path` isn't empty.
        """
        with _holding(self._top_first, path) as found:
            yield found


def _look(top_first: Sequence[_Any], path: bytes) -> Node | None:
    if not path:
        return top_first[0].itself()
    with _holding(top_first, path) as found:
        return None if found is None else found[2]


@contextmanager
def _holding(top_first: Sequence[_Any], path: bytes) -> Iterator[tuple[_Any, bytes, Node] | None]:
    parent, _, last = path.rpartition(b"/")
    with _merged(top_first, parent) as folders:
        yield first(folders, last)


@contextmanager
def _merged(top_first: Sequence[_Any], path: bytes) -> Iterator[Sequence[_Any]]:
    """Give the folders that overlayfs would merge at a path, top first."""
    folders = top_first
    opened: list[_Any] = []
    try:
        for part in path.split(b"/") if path else ():
            inner = descend(folders, part)
            # One level at a time: many layers and deep paths are more than a process may open.
            close(opened)
            folders = opened = inner
        yield folders
    finally:
        close(opened)


def first(folders: Sequence[_Any], name: bytes) -> tuple[_Any, bytes, Node] | None:
    """Return what has a name in merged folders: the one that holds it, its name, and what it is."""
    for folder in folders:
        found = folder.look(name)
        if found is not None:
            return None if found.kind == WHITEOUT else (folder, name, found)
    return None


def _meet(folder: LayerFolder, met: dict[bytes, bool], maximum: int) -> None:
    for name in folder.names():
        if len(met) < maximum and name not in met:
            found = folder.look(name)
            met[name] = found is not None and found.kind != WHITEOUT


def descend(folders: Sequence[_Any], name: bytes) -> list[_Any]:
    """Return the folders of a name in merged ones that are merged again, top first; to be closed.

    Raises:
        OSError: one can't be opened.
    """
    merged: list[_Any] = []
    try:
        for folder in folders:
            found = folder.look(name)
            if found is None:
                continue
            if found.kind != FOLDER:
                break
            merged.append(folder.enter(name))
            if merged[-1].itself().is_opaque:
                break
    except BaseException:
        close(merged)
        raise
    return merged


def close(folders: Sequence[Folder]) -> None:
    """Close folders."""
    for folder in folders:
        folder.close()

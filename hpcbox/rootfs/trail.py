"""Many looks into one stack of layers, each from where the last one was.

A look at a path opens all folders on its way. A stranger's layer may ask for hundreds of thousands
of paths, hundreds of folders deep: one after the other they lie near each other.
"""

from typing import TYPE_CHECKING

from hpcbox.rootfs.stack import Stack, close, descend, first
from hpcbox.rootfs.tree import Node

if TYPE_CHECKING:
    from hpcbox.rootfs.layer_view import LayerFolder

# Folders that are kept open, in all layers together: a process may open a thousand files.
_KEPT = 256


class Trail:
    """The way to the path that was looked at last; the stack may not change meanwhile."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._way: list[tuple[bytes, list[LayerFolder]]] = []
        self._opened = 0

    def look(self, path: bytes) -> Node | None:
        """Return what stands at a path (b"" is the root), or None.

        Raises:
            OSError: a folder can't be opened.
        """
        if not path:
            return self._stack.look(path)
        *parents, last = path.split(b"/")
        self._go(parents)
        folders = self._way[-1][1] if self._way else self._stack.top_first()
        found = first(folders, last)
        if self._opened > _KEPT:
            self.close()
        return None if found is None else found[2]

    def close(self) -> None:
        """Close the folders on the way."""
        self._back(0)

    def _go(self, parts: list[bytes]) -> None:
        common = 0
        for (name, _), part in zip(self._way, parts, strict=False):
            if name != part:
                break
            common += 1
        self._back(common)
        for part in parts[common:]:
            folders = self._way[-1][1] if self._way else self._stack.top_first()
            self._way.append((part, descend(folders, part)))
            self._opened += len(self._way[-1][1])

    def _back(self, count: int) -> None:
        while len(self._way) > count:
            _, folders = self._way.pop()
            self._opened -= len(folders)
            close(folders)

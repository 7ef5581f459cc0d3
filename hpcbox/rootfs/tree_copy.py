"""The copy of a layer that is a file system image, while it is being settled: a tree in memory.

What its formats do with the content of files is erofs_copy.py's and squashfs_copy.py's.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from hpcbox.rootfs.image_folder import Image, damaged, user_xattrs
from hpcbox.rootfs.layer_view import LayerFolder
from hpcbox.rootfs.stack import Stack
from hpcbox.rootfs.tree import FILE, FOLDER, Node


class TreeCopy(ABC):
    """A copy in an empty layer folder; see LayerCopy. A context manager."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._root = Node(FOLDER, 0, 0)
        self._taken = self._root
        # Files below that were copied, by their path.
        self._copied: dict[bytes, Node] = {}

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_error: object) -> None:
        """Close what is open."""

    @abstractmethod
    def fill(self, layer: int, files: list[int]) -> None:
        """Read a layer.

        Args:
            layer: descriptor of the layer's folder.
            files: descriptors of the files of the layer's form in it.

        Raises:
            StoreError: the layer is damaged.
            OSError: the folder can't be written.
        """

    @abstractmethod
    def finish(self) -> None:
        """Write the new image."""

    @abstractmethod
    def _add_content(self, node: Node, folder: LayerFolder, name: bytes) -> None:
        """Copy the content of a file in a folder of a layer below."""

    def view(self) -> "NodeFolder":
        """Return the copy as it is, for looking; to be closed."""
        return NodeFolder(self._root)

    def has_folder(self, path: bytes) -> bool:
        """Whether a folder stands at a path."""
        return self._folder_at(path) is not None

    def make_folder(self, path: bytes) -> None:
        """Make a folder in one that is there."""
        parent, _, name = path.rpartition(b"/")
        self._inside(parent)[name] = Node(FOLDER, 0o700, 0)

    def dress(self, path: bytes, like: Node) -> None:
        """Give a folder another one's mode and time."""
        folder = self._folder_at(path)
        if folder is not None:
            folder.mode, folder.mtime_ns = like.mode, like.mtime_ns

    def take(self, path: bytes) -> None:
        """Take a folder away, for `merge`."""
        parent, _, name = path.rpartition(b"/")
        self._taken = self._inside(parent).pop(name)

    def merge(self, path: bytes) -> None:
        """Move what is in the folder that was taken to another; what stands there is replaced."""
        onto = self._folder_at(path)
        if onto is not None:
            _merge(self._taken, onto)

    def link(self, below: Stack, file: bytes, path: bytes) -> None:
        """Give a file of the layers below a name here unless it is taken; see LayerCopy."""
        parent, _, name = path.rpartition(b"/")
        inside = self._inside(parent)
        if name in inside:
            return
        if file not in self._copied:
            self._copied[file] = self._copy_of(below, file)
        inside[name] = self._copied[file]

    def _copy_of(self, below: Stack, file: bytes) -> Node:
        with below.holding(file) as found:
            if found is None:
                raise FileNotFoundError
            folder, name, node = found
            copy = Node(node.kind, node.mode, node.mtime_ns)
            copy.target, copy.size_bytes = node.target, node.size_bytes
            copy.xattrs = folder.xattrs(name) or None
            if node.kind == FILE:
                self._add_content(copy, folder, name)
            return copy

    def _folder_at(self, path: bytes) -> Node | None:
        node = self._root
        for part in path.split(b"/") if path else ():
            found = (node.children or {}).get(part)
            if found is None or found.kind != FOLDER:
                return None
            node = found
        return node

    def _inside(self, path: bytes) -> dict[bytes, Node]:
        folder = self._folder_at(path)
        if folder is None or folder.children is None:
            raise FileNotFoundError
        return folder.children


class NodeFolder:
    """A folder of a tree in memory, for looking; see layer_view.Folder."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def itself(self) -> Node:
        """Return what the folder is, with its `is_opaque`."""
        return self._node

    def look(self, name: bytes) -> Node | None:
        """Return what has a name in it, a whiteout too, or None."""
        return (self._node.children or {}).get(name)

    def enter(self, name: bytes) -> "NodeFolder":
        """Return a folder in it."""
        return NodeFolder((self._node.children or {})[name])

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def tree_of(image: Image, place: Callable[[Node, int], None]) -> Node:
    """Return an image's whole tree; `place` is told of each file's node and number.

    Raises:
        StoreError: the image is damaged.
    """
    nodes: dict[int, Node] = {}

    def read(number: int) -> Node:
        node = nodes.get(number)
        if node is None:
            node = nodes[number] = image.node(number)
            node.xattrs = user_xattrs(image.xattrs(number)) or None
            if node.kind == FILE:
                place(node, number)
        return node

    root = read(image.root)
    waiting = [(image.root, root)]
    while waiting:
        number, folder = waiting.pop()
        children: dict[bytes, Node] = {}
        for name, inside in image.names(number).items():
            is_known = inside in nodes
            child = children[name] = read(inside)
            if child.kind == FOLDER:
                if is_known:
                    raise damaged("a folder has two names")
                waiting.append((inside, child))
        folder.children = children
    return root


def _merge(moved: Node, onto: Node) -> None:
    if moved.is_opaque:
        onto.is_opaque = True
    # Not `or {}`: that would be another dictionary for a folder that is empty.
    inside = {} if onto.children is None else onto.children
    for name, child in (moved.children or {}).items():
        there = inside.get(name)
        if there is not None and there.kind == child.kind == FOLDER:
            _merge(child, there)
        else:
            inside[name] = child


def count_names(root: Node) -> None:
    """Set how many names each file has in a tree that was changed."""
    counts: dict[Node, int] = {}
    waiting = [root]
    while waiting:
        for child in (waiting.pop().children or {}).values():
            if child.kind == FOLDER:
                waiting.append(child)
            else:
                counts[child] = child.names = counts.get(child, 0) + 1

"""An erofs layer's copy that is being settled: its tree in memory, written as another index.

No data is copied: the new index speaks of the same files, which get one more name each, and a whole
image becomes the first of them. Only what is taken from layers below has its bytes written, to a
file of its own.
"""

import os
from typing import Self

from hpcbox.rootfs import erofs_writer
from hpcbox.rootfs.erofs_inode import Inode, damaged
from hpcbox.rootfs.erofs_view import ErofsImage, copy_pieces, user_xattrs
from hpcbox.rootfs.stack import Stack
from hpcbox.rootfs.tree import FILE, FOLDER, Node

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_ONLY = 0o444
# Content begins at the blocks of whichever image speaks of it.
_ALIGNMENT = 4096


class TreeCopy:
    """A copy in an empty layer folder; see LayerCopy. A context manager."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._root = Node(FOLDER, 0, 0)
        self._taken = self._root
        self._block_bits = erofs_writer.INDEX_BLOCK_BITS
        self._data_bytes: list[int] = []
        self._extra = -1
        # Files below that were copied, by their path.
        self._copied: dict[bytes, Node] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._extra >= 0:
            os.close(self._extra)

    def fill(self, layer: int, files: list[int]) -> None:
        """Read a layer.

        Args:
            layer: descriptor of the layer's folder.
            files: descriptors of `image.erofs`, `data.1` and so on in it.

        Raises:
            StoreError: the layer is damaged.
            OSError: the folder can't be written.
        """
        names = [f"data.{number}" for number in range(1, len(files))] or ["image.erofs"]
        for number, name in enumerate(names, 1):
            os.link(name, f"{self._folder}/data.{number}", src_dir_fd=layer, follow_symlinks=False)
        self._data_bytes = [os.fstat(file).st_size for file in files[-len(names) :]]
        self._extra = os.open(f"{self._folder}/data.{len(names) + 1}", _NEW, _READ_ONLY)
        image = ErofsImage(files)
        self._block_bits = image.inodes.block_bytes.bit_length() - 1
        self._root = _Reading(image, files, self._extra).tree()

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

    def finish(self) -> None:
        """Write the new index."""
        _count_names(self._root)
        sizes = list(self._data_bytes)
        # The kernel reads whole blocks, of the last file too.
        extra_bytes = _aligned(self._extra)
        if extra_bytes:
            sizes.append(extra_bytes)
        else:
            os.unlink(f"{self._folder}/data.{len(sizes) + 1}")
        image = os.open(f"{self._folder}/image.erofs", _NEW, _READ_ONLY)
        try:
            erofs_writer.write_index(image, self._root, sizes, self._block_bits)
        finally:
            os.close(image)

    def _copy_of(self, below: Stack, file: bytes) -> Node:
        with below.holding(file) as found:
            if found is None:
                raise FileNotFoundError
            folder, name, node = found
            copy = Node(node.kind, node.mode, node.mtime_ns)
            copy.target, copy.size_bytes = node.target, node.size_bytes
            copy.xattrs = folder.xattrs(name) or None
            if node.kind == FILE:
                copy.place = len(self._data_bytes) + 1
                copy.offset = _aligned(self._extra)
                folder.copy(name, self._extra)
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


class _Reading:
    """Reads an image's whole tree; content that isn't in one piece is copied."""

    def __init__(self, image: ErofsImage, files: list[int], extra: int) -> None:
        self._image = image
        self._files = files
        self._extra = extra
        self._nodes: dict[int, Node] = {}

    def tree(self) -> Node:
        root = self._node(self._image.root)
        waiting = [(self._image.root, root)]
        while waiting:
            number, folder = waiting.pop()
            children: dict[bytes, Node] = {}
            for name, inside in self._image.names(number).items():
                is_known = inside in self._nodes
                child = children[name] = self._node(inside)
                if child.kind == FOLDER:
                    if is_known:
                        raise damaged("a folder has two names")
                    waiting.append((inside, child))
            folder.children = children
        return root

    def _node(self, number: int) -> Node:
        node = self._nodes.get(number)
        if node is None:
            node = self._nodes[number] = self._image.node(number)
            node.xattrs = user_xattrs(self._image.xattrs(number)) or None
            if node.kind == FILE:
                self._place(node, self._image.inodes.inode(number))
        return node

    def _place(self, node: Node, inode: Inode) -> None:
        pieces = self._image.inodes.pieces(inode)
        is_whole = len(self._files) == 1
        place = pieces[0].place + is_whole if pieces else 0
        if len(pieces) == 1 and place > 0:
            node.place = place
            node.offset = pieces[0].offset
        elif pieces:
            node.place = max(len(self._files) - 1, 1) + 1
            node.offset = _aligned(self._extra)
            copy_pieces(self._files, pieces, self._extra)


def _aligned(file: int) -> int:
    """Make a file as long as content may begin behind; return that length."""
    length = -(-os.fstat(file).st_size // _ALIGNMENT) * _ALIGNMENT
    os.ftruncate(file, length)
    return length


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


def _count_names(root: Node) -> None:
    """Set how many names each file has in a tree that was changed."""
    counts: dict[Node, int] = {}
    waiting = [root]
    while waiting:
        for child in (waiting.pop().children or {}).values():
            if child.kind == FOLDER:
                waiting.append(child)
            else:
                counts[child] = child.names = counts.get(child, 0) + 1

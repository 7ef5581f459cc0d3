"""A layer's tree in memory, grown entry by entry with all of OCI's layer semantics.

The rules are those of `entries.py`, which has them for folders on disk: later entries replace
earlier ones, whiteouts hide lower layers only, symlinks of the same layer are followed on the way
to an entry, nothing leaves the root. What depends on layers below is noted (`Needs`).
"""

import errno
import os
from typing import TYPE_CHECKING, cast

from hpcbox.rootfs import policy, tar, whiteouts
from hpcbox.rootfs.beneath import check_real, clean, rejected, walk
from hpcbox.rootfs.tree import FIFO, FILE, FOLDER, SYMLINK, WHITEOUT, Node
from hpcbox.store.sink import Needs

if TYPE_CHECKING:
    from collections.abc import Callable

_MAXIMUM_NAME = 255
_MAXIMUM_PATH = 4095
_KNOWN = 2**16
# Looked up for each entry: a module's own names are found faster.
_FILE, _FOLDER = tar.FILE, tar.FOLDER
_DEVICES = frozenset({tar.CHARACTER, tar.BLOCK})
_NO_NAMES = frozenset({b"", b".", b".."})


class _Place:
    """A folder that is on the way to entries.

    Attributes:
        node: the folder.
        path: its real path, without symlinks; b"" is the root.
        children: what is in it, by name.
    """

    __slots__ = ("children", "node", "path")

    def __init__(self, node: Node, path: bytes) -> None:
        self.node = node
        self.path = path
        self.children = _inside(node)

    def below(self, name: bytes) -> bytes:
        """Return the real path of a name in this folder."""
        return self.path + b"/" + name if self.path else name


class LayerTree:
    """The tree of one layer.

    Attributes:
        root: the layer's root folder.
        implied: how many folders were made without an entry.
    """

    def __init__(self) -> None:
        self.root = Node(FOLDER, policy.IMPLIED_MODE, 0)
        self.implied = 0
        self._top = _Place(self.root, b"")
        # Folders by the path that entries wrote, as it stands in the tar.
        self._known: dict[bytes, _Place] = {b"": self._top}
        # Folders without an entry of their own, parents first: (path, through a symlink).
        self._implied: dict[Node, tuple[bytes, bool]] = {}
        # Hardlinks to files of layers below, by folder and name there: (path, target).
        self._lower_links: dict[tuple[Node, bytes], tuple[_Place, bytes]] = {}
        self._make: dict[bytes, Callable[[tar.Entry, _Place, bytes], None]] = {
            tar.FOLDER: self._folder,
            tar.SYMLINK: self._symlink,
            tar.HARDLINK: self._hardlink,
            tar.FIFO: self._fifo,
        }

    def add(self, entry: tar.Entry) -> Node | None:
        """Add an entry; return its node if it is a file, whose content is to be placed.

        Raises:
            LayerRejected: it may not be unpacked.
        """
        name = entry.name
        kind = entry.kind
        if kind == _FOLDER and name.endswith(b"/"):
            name = name[:-1]
        parent, slash, base = name.rpartition(b"/")
        # An absolute name has an empty parent, too.
        place = self._known.get(parent or slash)
        # The usual case, which the checks of `clean` would make twice as slow: the parent is known
        # already, so only the last part of the path is new.
        if (
            place is None
            or base in _NO_NAMES
            or base.startswith(b".wh.")
            or len(base) > _MAXIMUM_NAME
            or len(name) > _MAXIMUM_PATH
            or b"\0" in base
        ):
            return self._add_checked(entry)
        if kind == _FILE:
            return self._file(entry, place, base)
        return self._make_at(entry, place, base)

    def needs(self) -> Needs:
        """Return what depends on the layers below, once all entries have been added."""
        implied = [
            (os.fsdecode(path), linked)
            for node, (path, linked) in self._implied.items()
            if self._shows(path, node)
        ]
        links = [
            (os.fsdecode(place.below(name)), os.fsdecode(target))
            for (_, name), (place, target) in self._lower_links.items()
            if self._at(place.path) is place.node
        ]
        return Needs(
            folders=tuple(path for path, _ in implied),
            linked_folders=tuple(path for path, linked in implied if linked),
            links=tuple(links),
        )

    def _add_checked(self, entry: tar.Entry) -> Node | None:
        path = clean(entry.name, entry.name)
        parent, _, name = path.rpartition(b"/")
        if not name:
            if entry.kind != tar.FOLDER:
                raise rejected(entry.name, "it would replace the image's root")
            _dress(self.root, entry)
            return None
        if name.startswith(b".wh."):
            self._whiteout(entry, parent, name)
            return None
        if entry.kind in _DEVICES or whiteouts.is_below_metadata(parent):
            return None
        place = self._resolved(parent, entry.name)
        written = entry.name.rstrip(b"/").rpartition(b"/")[0]
        if written == parent or clean(written, entry.name) == parent:
            self._remember(written, place)
        return self._make_at(entry, place, name)

    def _make_at(self, entry: tar.Entry, place: _Place, name: bytes) -> Node | None:
        if entry.kind == _FILE:
            return self._file(entry, place, name)
        if entry.kind not in _DEVICES:
            self._make[entry.kind](entry, place, name)
        return None

    def _remember(self, written: bytes, place: _Place) -> None:
        if len(self._known) >= _KNOWN:
            self._forget_known()
        self._known[written] = place

    def _forget_known(self) -> None:
        self._known = {b"": self._top}

    def _file(self, entry: tar.Entry, place: _Place, name: bytes) -> Node:
        node = Node(FILE, entry.mode & policy.FILE_BITS, policy.kept_time(entry.mtime_ns))
        node.size_bytes = entry.size_bytes
        node.offset = entry.offset
        if entry.xattrs is not None:
            node.xattrs = policy.kept_attributes(entry.xattrs, entry.name) or None
        self._put(node, place, name)
        return node

    def _put(self, node: Node, place: _Place, name: bytes) -> None:
        """Give a node a name, in place of what had it before."""
        children = place.children
        if self._lower_links:
            self._lower_links.pop((place.node, name), None)
        old = children.get(name)
        if old is not None:
            self._removed(old)
        children[name] = node

    def _folder(self, entry: tar.Entry, place: _Place, name: bytes) -> None:
        check_real(place.below(name), entry.name)
        children = place.children
        node = children.get(name)
        if node is None or node.kind != FOLDER:
            hides = node is not None and node.kind == WHITEOUT
            node = Node(FOLDER, 0, 0)
            node.is_opaque = hides
            self._put(node, place, name)
        elif self._lower_links:
            self._lower_links.pop((place.node, name), None)
        self._implied.pop(node, None)
        _dress(node, entry)

    def _symlink(self, entry: tar.Entry, place: _Place, name: bytes) -> None:
        policy.check_target(entry.target, entry.name)
        node = Node(SYMLINK, 0o777, policy.kept_time(entry.mtime_ns))
        node.target = entry.target
        node.size_bytes = len(entry.target)
        self._put(node, place, name)

    def _fifo(self, entry: tar.Entry, place: _Place, name: bytes) -> None:
        mtime_ns = policy.kept_time(entry.mtime_ns)
        self._put(Node(FIFO, entry.mode & policy.FIFO_BITS, mtime_ns), place, name)

    def _hardlink(self, entry: tar.Entry, place: _Place, name: bytes) -> None:
        key = (place.node, name)
        self._lower_links.pop(key, None)
        target = clean(entry.target, entry.name)
        if not target:
            raise rejected(entry.name, "a hardlink to the image's root")
        if target == place.below(name):
            raise rejected(entry.name, "a hardlink to itself")
        source = self._link_source(target, entry.name)
        children = place.children
        old = children.get(name)
        if source is None:
            # The target lies in a layer below, or is another name for one that does.
            if old is not None:
                self._removed(old)
                del children[name]
            self._lower_links[key] = (place, self._lower_target(target))
            return
        if old is source:
            return
        if old is not None and old.kind == FOLDER:
            # The target could lie inside of what it would replace.
            raise rejected(entry.name, "a hardlink in the place of a folder")
        source.names += 1
        self._put(source, place, name)

    def _lower_target(self, target: bytes) -> bytes:
        parent, _, name = target.rpartition(b"/")
        folder = self._at(parent)
        known = self._lower_links.get((folder, name)) if folder is not None else None
        return target if known is None else known[1]

    def _link_source(self, target: bytes, entry: bytes) -> Node | None:
        """Return what a hardlink of this layer leads to, None when this layer doesn't have it."""
        parent, _, name = target.rpartition(b"/")
        try:
            place = self._walked(parent, entry, make=False)
        except FileNotFoundError:
            return None
        node = place.children.get(name)
        if node is None or node.kind == WHITEOUT:
            return None
        if node.kind == FOLDER:
            raise rejected(entry, "a hardlink to a folder")
        return node

    def _whiteout(self, entry: tar.Entry, parent: bytes, name: bytes) -> None:
        if whiteouts.is_metadata(name):
            return
        if whiteouts.is_opaque_mark(name):
            if not parent or not (place := self._resolved(parent, entry.name)).path:
                raise rejected(entry.name, "a whiteout of the image's root")
            place.node.is_opaque = True
            return
        hidden = whiteouts.hidden_name(name)
        if hidden is None:
            raise rejected(entry.name, "a whiteout of its folder or the one above")
        place = self._resolved(parent, entry.name)
        children = place.children
        # A whiteout speaks of the layers below only: what this layer has stays.
        if (place.node, hidden) in self._lower_links:
            return
        found = children.get(hidden)
        if found is None:
            children[hidden] = Node(WHITEOUT, 0o600, 0)
        elif found.kind == FOLDER:
            found.is_opaque = True
            self._implied.pop(found, None)

    def _removed(self, node: Node) -> None:
        """Note that a node loses a name, and all below it theirs."""
        if node.kind in (FILE, FIFO):
            node.names -= 1
            return
        if node.kind == WHITEOUT:
            return
        # Paths may have led through it.
        self._forget_known()
        gone = [node]
        while gone:
            node = gone.pop()
            node.names -= 1
            if node.children:
                gone += node.children.values()
                # Whatever still refers to the folder finds it empty.
                node.children = {}

    def _resolved(self, path: bytes, entry: bytes) -> _Place:
        return self._known.get(path) or self._walked(path, entry, make=True)

    def _walked(self, path: bytes, entry: bytes, *, make: bool) -> _Place:
        """Return a folder by a clean path.

        Raises:
            LayerRejected: something on the path is no folder, or leads out of the root.
            FileNotFoundError: it is missing, and `make` is false.
        """
        # The folders along the real path so far, the root first.
        trail = [self.root]

        def step(real: list[bytes], part: bytes, linked: bool) -> bytes | None:  # noqa: FBT001
            del trail[len(real) + 1 :]
            node = _inside(trail[-1]).get(part)
            if node is not None and node.kind == SYMLINK:
                return node.target
            if node is None or node.kind != FOLDER:
                if len(part) > _MAXIMUM_NAME:
                    raise rejected(entry, os.strerror(errno.ENAMETOOLONG))
                if node is not None and node.kind != WHITEOUT:
                    shown = os.fsdecode(b"/".join([*real, part]))
                    raise rejected(entry, f"'{shown}' on its path is no folder")
                if not make:
                    raise FileNotFoundError
                node = self._imply(trail[-1], [*real, part], entry, linked=linked)
            trail.append(node)
            return None

        real = walk(path, entry, step)
        return _Place(trail[real.count(b"/") + 1 if real else 0], real)

    def _imply(self, folder: Node, path: list[bytes], entry: bytes, *, linked: bool) -> Node:
        """Make a folder that has no entry, or none so far."""
        children = _inside(folder)
        real, name = b"/".join(path), path[-1]
        check_real(real, entry)
        self.implied += 1
        made = Node(FOLDER, policy.IMPLIED_MODE, 0)
        if name in children:
            # A whiteout: the folder takes the place of whatever has its name below.
            made.is_opaque = True
        else:
            self._implied[made] = (real, linked)
        children[name] = made
        return made

    def _at(self, path: bytes) -> Node | None:
        """Return what stands at a real path."""
        node: Node | None = self.root
        for part in path.split(b"/") if path else ():
            if node is None or not node.children:
                return None
            node = node.children.get(part)
        return node

    def _shows(self, path: bytes, folder: Node) -> bool:
        """Say whether a folder is still at its path, and layers below show through to it."""
        node = self.root
        for part in path.split(b"/"):
            found = (node.children or {}).get(part)
            if found is None or node.is_opaque:
                return False
            node = found
        return node is folder


def _inside(folder: Node) -> dict[bytes, Node]:
    return cast("dict[bytes, Node]", folder.children)


def _dress(folder: Node, entry: tar.Entry) -> None:
    folder.mode = entry.mode & policy.FOLDER_BITS
    folder.mtime_ns = policy.kept_time(entry.mtime_ns)
    folder.xattrs = policy.kept_attributes(entry.xattrs, entry.name) or None

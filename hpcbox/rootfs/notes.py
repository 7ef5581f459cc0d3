"""What is known of a layer's folders while it is unpacked, beyond what the disk shows by then.

Folders get their modes and times last: one of mode 0555 takes no more files, and each new file
would set the time again. Whiteouts and links to layers below have no file yet. All of it is kept
by folder, so that it goes when its folder is replaced: no replacement looks at the whole layer.
"""

import os
from collections.abc import Iterator

from hpcbox.store.sink import Needs


class Note:
    """What is known of one folder.

    Attributes:
        is_listed: whether the folder has an entry of its own, with the next three.
        mode: permission bits of its entry.
        mtime_ns: time of its entry, nanoseconds since 1970.
        xattrs: extended attributes of its entry, None for none.
        is_implied: made because something lies in it: what the layers below have counts.
        is_linked: a symlink of this layer led to it when it was made.
        hides: all of its name in the layers below is hidden.
        whiteouts: names in it that are hidden in the layers below, None for none.
        links: name → target of hardlinks to files that this layer doesn't have, None for none.
    """

    __slots__ = (
        "hides",
        "is_implied",
        "is_linked",
        "is_listed",
        "links",
        "mode",
        "mtime_ns",
        "whiteouts",
        "xattrs",
    )

    def __init__(self) -> None:
        self.is_listed = False
        self.mode = 0o755
        self.mtime_ns = 0
        self.xattrs: dict[bytes, bytes] | None = None
        self.is_implied = False
        self.is_linked = False
        self.hides = False
        self.whiteouts: set[bytes] | None = None
        self.links: dict[bytes, bytes] | None = None


class Notes:
    """The notes of a layer, by the real paths of its folders; parents come before children.

    Attributes:
        implied: how many folders were made without an entry.
    """

    def __init__(self) -> None:
        self.implied = 0
        self._by_path: dict[bytes, Note] = {}

    def at(self, path: bytes) -> Note:
        """Return the note of a folder, a new one if there was none."""
        note = self._by_path.get(path)
        if note is None:
            note = self._by_path[path] = Note()
        return note

    def forget(self, path: bytes) -> None:
        """Drop what is known of a folder that is gone."""
        self._by_path.pop(path, None)

    def imply(self, path: bytes, *, linked: bool) -> None:
        """Note a folder that was made without an entry: new, or in the place of a whiteout."""
        self.implied += 1
        if self.reveal(path):
            self.replace(path)
            return
        note = self.at(path)
        note.is_implied, note.is_linked = True, linked

    def hide(self, path: bytes) -> None:
        """Note that all in the folders of this name in the layers below is hidden."""
        self.at(path).hides = True

    def replace(self, path: bytes) -> None:
        """Note a folder that takes the place of whatever has its name in the layers below."""
        note = self.at(path)
        note.hides, note.is_implied = True, False

    def whiteout(self, parent: bytes, name: bytes) -> None:
        """Note that a name is hidden in the layers below."""
        note = self.at(parent)
        if note.whiteouts is None:
            note.whiteouts = set()
        note.whiteouts.add(name)

    def reveal(self, path: bytes) -> bool:
        """Drop the whiteout of a name, as this layer has it itself; say whether there was one."""
        parent, _, name = path.rpartition(b"/")
        note = self._by_path.get(parent)
        if note is None or not note.whiteouts or name not in note.whiteouts:
            return False
        note.whiteouts.remove(name)
        return True

    def link(self, path: bytes, target: bytes) -> None:
        """Note a hardlink to a file that this layer doesn't have."""
        parent, _, name = path.rpartition(b"/")
        note = self.at(parent)
        if note.links is None:
            note.links = {}
        note.links[name] = target

    def linked(self, path: bytes) -> bytes | None:
        """Return the target that was noted for a link of this path."""
        parent, _, name = path.rpartition(b"/")
        note = self._by_path.get(parent)
        return note.links.get(name) if note is not None and note.links else None

    def unlink(self, path: bytes) -> None:
        """Drop the link of this path: something else has its name now."""
        parent, _, name = path.rpartition(b"/")
        note = self._by_path.get(parent)
        if note is not None and note.links:
            note.links.pop(name, None)

    def deepest_first(self) -> Iterator[tuple[bytes, Note]]:
        """Yield all folders with a note, each before the folder that holds it."""
        paths = sorted(self._by_path, key=lambda path: path.count(b"/") + bool(path), reverse=True)
        for path in paths:
            yield path, self._by_path[path]

    def needs(self) -> Needs:
        """Return what depends on the layers below."""
        implied = [
            (os.fsdecode(path), note.is_linked)
            for path, note in self._by_path.items()
            if note.is_implied and not self._is_hidden(path)
        ]
        return Needs(
            folders=tuple(path for path, _ in implied),
            linked_folders=tuple(path for path, linked in implied if linked),
            links=tuple(
                (os.fsdecode(path + b"/" + name if path else name), os.fsdecode(target))
                for path, note in self._by_path.items()
                for name, target in (note.links or {}).items()
            ),
        )

    def _is_hidden(self, path: bytes) -> bool:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            note = self._by_path.get(path)
            if note is not None and note.hides:
                return True
        return False

"""What a stack of directory layers shows, read without mounting it: overlayfs's rules for lookups.

The service user may not mount; and to know what lies below one name a look into few folders is
cheaper anyway. Symlinks are never followed here.
"""

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack

from hpcbox.rootfs import whiteouts

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found:
    """Something in a stack.

    Attributes:
        status: as lstat(2) gives it, of the uppermost layer that has it.
        target: of a symlink, else b"".
    """

    __slots__ = ("status", "target")

    def __init__(self, status: os.stat_result, target: bytes) -> None:
        self.status = status
        self.target = target

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symlink."""
        return stat.S_ISLNK(self.status.st_mode)


class Stack:
    """Layers by descriptors of their folders, bottom first; the descriptors stay the caller's."""

    def __init__(self, layers: Sequence[int]) -> None:
        self._top_first = list(reversed(layers))

    def look(self, path: bytes) -> Found | None:
        """Return what stands at a path (b"" is the root), or None."""
        with ExitStack() as opened:
            found = self._find(path, opened)
            if found is None:
                return None
            parent, name, status = found
            is_link = stat.S_ISLNK(status.st_mode)
            return Found(status, os.readlink(name, dir_fd=parent) if is_link else b"")

    def open(self, path: bytes, flags: int) -> int:
        """Open what stands at a path; the descriptor is the caller's.

        Raises:
            FileNotFoundError: there is nothing.
            OSError: it is a symlink, or can't be opened.
        """
        with ExitStack() as opened:
            found = self._find(path, opened)
            if found is None:
                raise FileNotFoundError
            return os.open(found[1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found[0])

    def names(self, path: bytes, maximum: int) -> list[bytes]:
        """Return the names in a folder, the first `maximum` that are met.

        Raises:
            OSError: there is no such folder.
        """
        with ExitStack() as opened:
            folders = self._top_first
            for part in path.split(b"/") if path else ():
                folders = _descend(folders, part, opened)
            if not folders:
                raise FileNotFoundError
            # Name → whether it is shown: a whiteout hides its name in the layers below.
            met: dict[bytes, bool] = {}
            for folder in folders:
                _meet(folder, met, maximum)
            return [name for name, shown in met.items() if shown]

    def link(self, path: bytes, parent: int, name: bytes) -> None:
        """Make a hardlink to a file of the stack in another folder of the same file system.

        Raises:
            FileNotFoundError: there is no such file.
            FileExistsError: something has the new name already.
        """
        with ExitStack() as opened:
            found = self._find(path, opened)
            if found is None or stat.S_ISDIR(found[2].st_mode):
                raise FileNotFoundError
            os.link(found[1], name, src_dir_fd=found[0], dst_dir_fd=parent, follow_symlinks=False)

    def _find(self, path: bytes, opened: ExitStack) -> tuple[int, bytes, os.stat_result] | None:
        if not path:
            top = self._top_first[0]
            return top, b".", os.stat(top)
        *parents, last = path.split(b"/")
        folders = self._top_first
        for part in parents:
            folders = _descend(folders, part, opened)
        return _first(folders, last)


def _first(folders: list[int], name: bytes) -> tuple[int, bytes, os.stat_result] | None:
    for folder in folders:
        try:
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            continue
        return None if whiteouts.is_whiteout(status) else (folder, name, status)
    return None


def _meet(folder: int, met: dict[bytes, bool], maximum: int) -> None:
    readable = os.open(".", _FOLDER, dir_fd=folder)
    try:
        with os.scandir(readable) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if len(met) < maximum and name not in met:
                    met[name] = not whiteouts.is_whiteout(entry.stat(follow_symlinks=False))
    finally:
        os.close(readable)


def _descend(folders: list[int], name: bytes, opened: ExitStack) -> list[int]:
    """Return the folders of this name that overlayfs would merge, top first."""
    merged: list[int] = []
    for folder in folders:
        try:
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            break
        found = os.open(name, _FOLDER, dir_fd=folder)
        opened.callback(os.close, found)
        merged.append(found)
        if whiteouts.is_opaque(found):
            break
    return merged

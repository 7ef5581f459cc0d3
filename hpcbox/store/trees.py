"""Removing folders that hold what strangers packed: any modes, any depth that unpacking allows."""

import os
import stat
from contextlib import suppress

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str | bytes, *, parent: int | None = None) -> None:
    """Remove a file or a whole folder; an absent one is no error.

    Symlinks are removed, never followed. Folders that their owner may not write are made writable
    first.
    """
    try:
        status = os.lstat(path) if parent is None else os.lstat(path, dir_fd=parent)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(path, dir_fd=parent)
            return
        folder = _open_folder(path, parent)
        try:
            _empty(folder)
        finally:
            os.close(folder)
        os.rmdir(path, dir_fd=parent)
    except FileNotFoundError:
        return


def _open_folder(path: str | bytes, parent: int | None) -> int:
    try:
        folder = os.open(path, _OPEN, dir_fd=parent)
    except PermissionError:
        # Its mode keeps its owner out. chmod(2) would follow a symlink that took its place; inside
        # a store nobody but this account could put one there.
        os.chmod(path, 0o700, dir_fd=parent)
        folder = os.open(path, _OPEN, dir_fd=parent)
    if os.fstat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.fchmod(folder, 0o700)
    return folder


def _empty(folder: int) -> None:
    with os.scandir(folder) as entries:
        # Names first: a folder that shrinks while it is read may skip some (readdir(3)).
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in names:
        if is_folder:
            remove(name, parent=folder)
        else:
            # Two may remove the same folder at once.
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)

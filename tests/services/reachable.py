"""A checkout that the tests' other accounts can reach, wherever it lies.

Tests run programs of the checkout as several accounts. On a fresh Debian machine root's home is
closed to them, and that is where root has the checkout.
"""

import os
import stat
from pathlib import Path

from hpcbox import kernel


def open_way(place: Path) -> None:
    """Let all accounts pass the folders above a place, for this process and its children alone.

    In a mount namespace of its own; what is in those folders keeps its modes. Needs root, and does
    nothing where nothing is closed.
    """
    closed = [folder for folder in reversed(place.parents) if _is_closed(folder)]
    if not closed:
        return
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_SLAVE)
    for folder in closed:
        _open(folder)
    # The way to the working directory leads through them.
    os.chdir(Path.cwd())


def _is_closed(folder: Path) -> bool:
    return not folder.stat().st_mode & stat.S_IXOTH


def _open(folder: Path) -> None:
    """Cover a folder by one that has the same in it and can be passed."""
    below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel.mount("tmpfs", os.fspath(folder), "tmpfs", 0, "mode=0711")
        with os.scandir(below) as entries:
            for entry in entries:
                _show(f"/proc/self/fd/{below}/{entry.name}", folder / entry.name)
    finally:
        os.close(below)


def _show(source: str, place: Path) -> None:
    mode = os.lstat(source).st_mode
    if stat.S_ISLNK(mode):
        place.symlink_to(os.readlink(source))
        return
    if stat.S_ISDIR(mode):
        place.mkdir()
    else:
        place.touch()
    kernel.mount(source, os.fspath(place), None, kernel.MS_BIND | kernel.MS_REC)

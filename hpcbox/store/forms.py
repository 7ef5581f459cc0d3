"""What form a layer has in the store, and how much of the disk it takes.

Seen from the names in its folder (paths.py lists them), so that nobody who makes a layer has to say
it as well.
"""

import os
import stat

from hpcbox.store import paths

DIRECTORY, INDEX, EROFS, SQUASHFS = "directory", "index", "erofs", "squashfs"
FORMS = (DIRECTORY, INDEX, EROFS, SQUASHFS)
_STAT_BLOCK_BYTES = 512  # stat(2), st_blocks


def of_folder(folder: str) -> str:
    """Return the form of the layer in a layer folder; DIRECTORY when it holds none of the others.

    Raises:
        OSError: the folder can't be read.
    """
    names = set(os.listdir(folder))
    if paths.SQUASHFS_IMAGE in names:
        return SQUASHFS
    if paths.EROFS_IMAGE in names:
        return INDEX if paths.data(1) in names else EROFS
    return DIRECTORY


def disk_bytes(folder: str) -> int:
    """Return what a folder takes of its file system; a file with several names counts once.

    Raises:
        OSError: it can't be read.
    """
    seen: set[int] = set()
    blocks = os.lstat(folder).st_blocks
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)
                elif status.st_nlink > 1:
                    if status.st_ino in seen:
                        continue
                    seen.add(status.st_ino)
                blocks += status.st_blocks
    return blocks * _STAT_BLOCK_BYTES

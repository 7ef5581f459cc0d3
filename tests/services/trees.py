"""A tree as text, for comparing what different programs made of one image."""

import hashlib
import os
import stat
from pathlib import Path


def tree_of(root: Path, *, with_times: bool = False) -> dict[str, str]:
    """Return path → what it is: type, mode, size and content or target, links, user.* attributes.

    The root is ".". Files with several names show the first of them as `same as`. Other extended
    attributes than user.* are left out, and overlayfs's own. With times, files' mtimes in
    nanoseconds, and those of folders too.
    """
    found: dict[str, str] = {}
    first_names: dict[tuple[int, int], str] = {}
    for path in [root, *sorted(_walk(root))]:
        name = (
            "."
            if path == root
            else os.fsencode(path.relative_to(root)).decode("utf-8", "surrogateescape")
        )
        status = path.lstat()
        what = _what(path, status)
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            first = first_names.setdefault((status.st_dev, status.st_ino), name)
            what += f" same as {first}"
        if with_times:
            what += f" at {status.st_mtime_ns}"
        found[name] = what
    return found


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Return a line for each path that isn't the same in both."""
    return [
        f"{path!r}: {ours.get(path, 'nothing')!r}, not {theirs.get(path, 'nothing')!r}"
        for path in sorted({*ours, *theirs})
        if ours.get(path) != theirs.get(path)
    ]


def _walk(root: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(root):
        found += [Path(folder, name) for name in folders + files]
    return found


def _what(path: Path, status: os.stat_result) -> str:
    mode = f"{stat.S_IMODE(status.st_mode):o}"
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        return f"symlink {os.readlink(path)!r}"
    xattrs = _xattrs(path)
    if kind == stat.S_IFDIR:
        return f"folder {mode}{xattrs}"
    if kind == stat.S_IFREG:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return f"file {mode} {status.st_size} {digest}{xattrs}"
    if kind == stat.S_IFIFO:
        return f"fifo {mode}"
    return f"device {status.st_rdev} {mode}" if kind in (stat.S_IFCHR, stat.S_IFBLK) else "socket"


def _xattrs(path: Path) -> str:
    names = [
        name
        for name in os.listxattr(path, follow_symlinks=False)
        if name.startswith("user.")
        and not name.startswith(("user.overlay.", "user.rootlesscontainers", "user.umoci"))
    ]
    pairs = [f"{name}={os.getxattr(path, name, follow_symlinks=False)!r}" for name in sorted(names)]
    return f" {' '.join(pairs)}" if pairs else ""

"""Which mounts a container gets, in their order: the design's table, pure.

/proc, /sys and /dev of the node; its /tmp; the site's list; the job's working directory and batch
script; then the user's own. Loaded on every node and step.
"""

import os.path

from hpcbox.request.mounts import NODEV, NOSUID, RDONLY, Mount, parse
from hpcbox.request.wire import ContainerRequest

# A working directory here would hide what the image keeps at the same place.
_IMAGE_TREES = ("/bin", "/boot", "/etc", "/proc", "/run", "/sbin", "/sys", "/dev", "/usr")
_IMAGE_FOLDERS = ("/", "/opt", "/root", "/var")


def kernel_mounts() -> list[Mount]:
    """Return the mounts of the kernel's own trees; /dev keeps its devices."""
    return [
        Mount("/proc", "/proc", NOSUID | NODEV, required=True, origin="hpcbox"),
        Mount("/sys", "/sys", NOSUID | NODEV, required=True, origin="hpcbox"),
        Mount("/dev", "/dev", NOSUID, required=True, origin="hpcbox"),
    ]


def folder_mounts(request: ContainerRequest, site_mounts: tuple[str, ...]) -> list[Mount]:
    """Return the node's folders that the container sees, the user's own last.

    Raises:
        MountRefused: the user's list breaks the grammar or the rules.
    """
    folders = [("/tmp", "hpcbox"), *((path, "site") for path in site_mounts)]  # noqa: S108
    if _wants_working_directory(request.cwd, [path for path, _ in folders]):
        folders.append((request.cwd, "working directory"))
    mounts = [
        Mount(path, path, NOSUID | NODEV, required=False, origin=origin) for path, origin in folders
    ]
    script = os.path.dirname(request.script)
    if script.startswith("/") and not any(is_below(script, mount.target) for mount in mounts):
        attributes = NOSUID | NODEV | RDONLY
        mounts.append(Mount(script, script, attributes, required=True, origin="batch script"))
    return mounts + parse(request.mounts, request.cwd)


def _wants_working_directory(cwd: str, mounted: list[str]) -> bool:
    if not cwd.startswith("/") or cwd in _IMAGE_FOLDERS:
        return False
    if any(is_below(cwd, tree) for tree in _IMAGE_TREES) or cwd.startswith("/lib"):
        return False
    return not any(is_below(cwd, folder) for folder in mounted)


def is_below(path: str, folder: str) -> bool:
    """Whether a path in normal form is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")

"""Where a container's mounts come from and go to, and where its tasks start.

Runs as the job's user, in the container's mount namespace but with the node's root. Sources are
opened with the user's rights; targets are found below a descriptor of the container root, so that
no symlink of an image leads out of it. Nothing is mounted here.
Loaded on every node and step.
"""

import os
import stat

from hpcbox import kernel
from hpcbox.errors import MountRefused
from hpcbox.request import mounts as grammar
from hpcbox.request import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    # A mount and the descriptor of its source, None for a tmpfs.
    Source = tuple[grammar.Mount, int | None]

_LOOKUP = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS


def open_sources(mounts: list[grammar.Mount]) -> "list[Source]":
    """Return each mount with the descriptor of its source; optional ones may be left out.

    Raises:
        MountRefused: a source that must be there is missing or closed to the user.
    """
    sources: list[Source] = []
    for mount in mounts:
        if not mount.source:
            sources.append((mount, None))
            continue
        try:
            sources.append((mount, os.open(mount.source, os.O_PATH | os.O_CLOEXEC)))
        except OSError as error:
            if mount.required:
                raise MountRefused(
                    f"cannot mount {mount.source} at {mount.target}: {error.strerror}",
                    hint="a mount's source must exist on the node and be open to you",
                ) from error
    return sources


def targets(
    root: int, sources: "list[Source]"
) -> "Iterator[tuple[grammar.Mount, int | None, int]]":
    """Yield each mount with the descriptors of its source and its target, which is made if missing.

    One mount must be made before the next is asked for: it may lie in the one before. The target's
    descriptor is the caller's to close.

    Raises:
        MountRefused: a mount has no place in the root.
    """
    root_path = os.readlink(f"/proc/self/fd/{root}")
    for mount, source in sources:
        target = _target_or_none(root, mount, source, root_path)
        if target is not None:
            yield mount, source, target


def _target_or_none(
    root: int, mount: grammar.Mount, source: int | None, root_path: str
) -> int | None:
    """Return the place of a mount, or None for one that may be missing and has none.

    Where layers can't be idmapped the user can't make folders in those of the image.
    """
    try:
        return _open_target(root, mount, source, root_path)
    except MountRefused:
        if mount.required:
            raise
        return None


def _open_target(root: int, mount: grammar.Mount, source: int | None, root_path: str) -> int:
    """Return a descriptor of the place in the root where a mount goes, making it if missing."""
    is_folder = source is None or stat.S_ISDIR(os.fstat(source).st_mode)
    try:
        target = _find_or_make(root, mount.target, is_folder=is_folder)
    except OSError as error:
        raise MountRefused(
            f"cannot mount at {mount.target}: the image has no such place and it can't be made: "
            f"{error.strerror}"
        ) from error
    _check_place(target, mount, root_path)
    if stat.S_ISDIR(os.fstat(target).st_mode) != is_folder:
        what = ("a folder", "a file") if is_folder else ("a file", "a folder")
        raise MountRefused(
            f"cannot mount {what[0]} at {mount.target}: the image has {what[1]} there"
        )
    return target


def _find_or_make(root: int, path: str, *, is_folder: bool) -> int:
    relative = path.lstrip("/")
    try:
        return kernel.openat2(root, relative, os.O_PATH, _LOOKUP)
    except FileNotFoundError:
        pass
    parent, _, name = relative.rpartition("/")
    folder = _find_or_make(root, parent, is_folder=True) if parent else os.dup(root)
    try:
        if is_folder:
            os.mkdir(name, 0o755, dir_fd=folder)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=folder))
    finally:
        os.close(folder)
    return kernel.openat2(root, relative, os.O_PATH, _LOOKUP)


def _check_place(target: int, mount: grammar.Mount, root_path: str) -> None:
    """Refuse a target that symlinks of the image have led to a place of hpcbox's own.

    The kernel's trees are mounted first, straight below the root; nothing else may cover them.
    """
    inside = "/" + os.readlink(f"/proc/self/fd/{target}")[len(root_path) :].lstrip("/")
    if mount.target in ("/proc", "/sys", "/dev"):
        if inside != mount.target:
            raise MountRefused(f"the image leads {mount.target} to {inside}")
        return
    if inside == "/" or grammar.is_kernel_tree(inside):
        raise MountRefused(f"the mount target {mount.target} leads to {inside} in this image")


def working_directory(
    request: wire.ContainerRequest, image_workdir: str, root: int
) -> tuple[str, str]:
    """Return the first that is set, and what it is: the choice of where tasks start.

    --container-workdir, a cwd that was chosen, the image's, the cwd, /.
    """
    if request.workdir:
        return request.workdir, "--container-workdir"
    chosen = request.cwd if request.submit_dir and request.cwd != request.submit_dir else ""
    for path, origin in (
        (chosen, "--chdir"),
        (image_workdir, "image"),
        (request.cwd, "working directory"),
    ):
        if path.startswith("/") and _is_folder(root, path):
            return path, origin
    return "/", "neither the image's nor the current one exists"


def _is_folder(root: int, path: str) -> bool:
    try:
        folder = kernel.openat2(root, path.lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY, _LOOKUP)
    except OSError:
        return False
    os.close(folder)
    return True

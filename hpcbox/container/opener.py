"""The job's user's part in making a container: open mount sources, find targets, fill in files.

Runs in a child that is the user for good (principals.become), in the container's mount namespace
but with the node's root. It answers root's packets in a fixed order, so that root needs no path
of the user's: root gets descriptors and attribute bits.

    user → root   O  the request can be read and all its sources are open
    root → user   R  + descriptor of the container root, descriptor of the image's part
    user → root   S  + kind and attributes (root.SOURCE) + descriptor of the source, once a mount
                  T  + descriptor of the target in the root; root answers K when it is mounted
                  F  + descriptor of the environment: done
                  E  + text: cannot be done

Loaded on every node and step.
"""

import os
import stat

from hpcbox import kernel, packets
from hpcbox.container import environment, identity
from hpcbox.container.mounts import folder_mounts, kernel_mounts
from hpcbox.container.root import BIND, SOURCE, TMPFS
from hpcbox.errors import HpcboxError, MountRefused, RequestError
from hpcbox.request import mounts as grammar
from hpcbox.request import wire

_LOOKUP = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS


def serve(
    socket: packets.Socket, request_bytes: bytes, site_mounts: tuple[str, ...], root_path: str
) -> None:
    """Do the user's part of one container; errors go to root as an E packet.

    Args:
        socket: the connection to root.
        request_bytes: what the plugin sent.
        site_mounts: folders that the site shows in every container.
        root_path: where root mounts the container root; to recognise where a target lies.
    """
    try:
        request = wire.read(request_bytes)
        sources = _open_sources(request, site_mounts)
        packets.send(socket, b"O")
        start = packets.receive(socket)
        if start is None:
            return
        root, image_part = start.descriptors
        identity.write_files(root)
        for mount, source in sources:
            target = _target_or_none(root, mount, source, root_path)
            if target is not None and not _mount(socket, mount, source, target):
                return
        packets.send(socket, b"F", b"", (_environment(request, image_part, root),))
    except HpcboxError as error:
        packets.send(socket, b"E", str(error).encode())


def _open_sources(
    request: wire.ContainerRequest, site_mounts: tuple[str, ...]
) -> list[tuple[grammar.Mount, int | None]]:
    """Return each mount with the descriptor of its source, None for a tmpfs."""
    sources: list[tuple[grammar.Mount, int | None]] = []
    for mount in kernel_mounts() + folder_mounts(request, site_mounts):
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


def _mount(socket: packets.Socket, mount: grammar.Mount, source: int | None, target: int) -> bool:
    """Have root make a mount; return whether root is still there."""
    kind = TMPFS if source is None else BIND
    descriptors = () if source is None else (source,)
    packets.send(socket, b"S", SOURCE.pack(kind, mount.attributes), descriptors)
    packets.send(socket, b"T", b"", (target,))
    os.close(target)
    return packets.receive(socket) is not None


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


def _environment(request: wire.ContainerRequest, image_part: int, root: int) -> int:
    """Return a memfd with the working directory, the digest and the variables, NUL after each."""
    parts = packets.read_strings(image_part)
    if len(parts) < 2:
        raise RequestError("the store's record of the image can't be read")
    image_workdir, digest = parts[:2]
    lines = [_working_directory(request, image_workdir, root), digest]
    lines += environment.image_variables(tuple(parts[2:]), request.env)
    return packets.write_strings(lines)


def _working_directory(request: wire.ContainerRequest, image_workdir: str, root: int) -> str:
    """The first that is set: --container-workdir, a chosen cwd, the image's, the cwd, /."""
    if request.workdir:
        return request.workdir
    chosen = request.cwd if request.submit_dir and request.cwd != request.submit_dir else ""
    for path in (chosen, image_workdir, request.cwd):
        if path.startswith("/") and _is_folder(root, path):
            return path
    return "/"


def _is_folder(root: int, path: str) -> bool:
    try:
        folder = kernel.openat2(root, path.lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY, _LOOKUP)
    except OSError:
        return False
    os.close(folder)
    return True

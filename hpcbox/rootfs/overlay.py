"""Layers to one root: each layer owned by the job's user, all stacked by overlayfs.

Works on descriptors only. A directory layer belongs to the service user on disk; its mount is
cloned and idmapped, service user → job's user, so that the user owns the whole root as if they had
unpacked it (mount_setattr(2); overlayfs on idmapped layers since Linux 5.19). Where that can't be
had (user namespaces switched off, an old kernel or file system) the layers are stacked as they
are: then files that only their owner may read are out of the user's reach.
In user mode the layers are the user's own already.
Loaded on every node and step; runs as root, or in a user namespace as the user.
"""

import os

from hpcbox import kernel, packets
from hpcbox.errors import NodeSetupFailed

ROOT_MODE = 0o755
# The mount data of mount(2) is one page.
_MAX_OPTIONS = 4095


def stack(layers: list[int], upper: tuple[int, int], target: str) -> None:
    """Mount the layers (bottom first) below a writable upper at a path of root's own.

    Args:
        layers: descriptors of the layers' roots, as `cloned_layers` returned them.
        upper: descriptors of the upper and the work directory, on one file system.
        target: root-owned empty folder in this mount namespace.

    Raises:
        NodeSetupFailed: overlayfs refused, with the kernel's reason.
    """
    lower = ":".join(f"/proc/self/fd/{layer}" for layer in reversed(layers))
    options = (
        f"lowerdir={lower},upperdir=/proc/self/fd/{upper[0]},workdir=/proc/self/fd/{upper[1]},"
        "userxattr"
    )
    if len(options) > _MAX_OPTIONS:
        raise NodeSetupFailed(f"the image has too many layers to stack ({len(layers)})")
    try:
        kernel.mount("overlay", target, "overlay", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    except OSError as error:
        raise NodeSetupFailed(
            f"overlayfs cannot stack the image's {len(layers)} layers: {error.strerror}"
        ) from error


def cloned_layers(layers: list[int], service: tuple[int, int], user: tuple[int, int]) -> list[int]:
    """Return detached read-only mounts of the layer folders, owned by the user where possible.

    Args:
        layers: descriptors of the layer folders.
        service: (uid, gid) that owns them on disk.
        user: (uid, gid) that is to own them in the container.

    Raises:
        NodeSetupFailed: a layer can't be mounted.
    """
    try:
        namespace = _mapping_namespace(service, user) if service != user else None
    except OSError:
        namespace = None
    try:
        return [_clone(layer, namespace) for layer in layers]
    except OSError as error:
        raise NodeSetupFailed(f"cannot mount a layer: {error.strerror}") from error
    finally:
        if namespace is not None:
            os.close(namespace)


def _clone(layer: int, namespace: int | None) -> int:
    flags = kernel.OPEN_TREE_CLONE | kernel.AT_EMPTY_PATH
    tree = kernel.open_tree(layer, "", flags)
    attributes = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
    kernel.mount_setattr(tree, attributes=attributes)
    if namespace is not None:
        try:
            kernel.mount_setattr(tree, attributes=kernel.MOUNT_ATTR_IDMAP, user_namespace=namespace)
        except OSError:
            # EINVAL: this kernel or file system has no idmapped mounts; see the module's text.
            return tree
    return tree


def _mapping_namespace(service: tuple[int, int], user: tuple[int, int]) -> int:
    """Return a user namespace that maps the service user to the job's user, and nobody else.

    Only its maps matter: the process that opened it ends at once.
    """
    ours, theirs = packets.pair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            kernel.unshare(kernel.CLONE_NEWUSER)
            theirs.send(b"1")
            theirs.recv(1)
        finally:
            os._exit(1)
    theirs.close()
    try:
        if not ours.recv(1):
            raise OSError("no user namespaces")
        for kind, inside, outside in (
            ("uid_map", service[0], user[0]),
            ("gid_map", service[1], user[1]),
        ):
            path = f"/proc/{child}/{kind}"
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{inside} {outside} 1\n")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
    finally:
        ours.close()
        os.kill(child, kernel.SIGKILL)
        os.waitpid(child, 0)

"""Layers in any form as detached read-only mounts that belong to the container's user.

Works on descriptors only. A folder's mount is cloned; `image.erofs` is mounted from the file itself
(since Linux 6.12, not in a file of tmpfs or overlayfs), else through loop devices, as is
`image.squashfs`. Each mount is idmapped, so that the user owns the whole root as if they had
unpacked it: owner of the folder → user, 0 → user for file systems (mount_setattr(2); overlayfs
takes idmapped layers since Linux 5.19, and in kernels that distributions have mended). Where that
can't be had (an older kernel, user namespaces switched off, a file system that doesn't know it) the
layers stay as they are: then files that only their owner may read are out of the user's reach.

Nothing is attached anywhere: with the last descriptor, and the overlay that was made of them,
mounts and loop devices are gone. Loaded on every node and step; runs as root, or in a user
namespace as the user, who has folders only.
"""

import errno
import os
import stat

from hpcbox import kernel, packets
from hpcbox.errors import NodeSetupFailed
from hpcbox.store.opened_layer import DIRECTORY, EROFS, OpenedLayer

_ATTRIBUTES = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
_OVERLAY_TAKES_IDMAPPED = (5, 19)
_IMAGE_OWNER = (0, 0)


class LayerMounts:
    """The mounted layers of one container; each is added as soon as it is known.

    Attributes:
        trees: descriptors of the mounts, in the order in which the layers were added.
        unmapped: the same without idmapping, in case that overlayfs refuses the others; empty where
            it is known that it won't.
    """

    def __init__(
        self,
        service: tuple[int, int],
        user: tuple[int, int],
        release: tuple[int, int] | None = None,
    ) -> None:
        """Begin with none.

        Args:
            service: (uid, gid) that owns the store.
            user: (uid, gid) that is to own the layers in the container.
            release: the kernel's, if it isn't the one that runs.
        """
        self.trees: list[int] = []
        self.unmapped: list[int] = []
        self._is_sure = (release or kernel.release()) >= _OVERLAY_TAKES_IDMAPPED
        self._service = service
        self._user = user
        # Owner on disk → user namespace that maps it to the user; None where there can't be one.
        self._mappings: dict[tuple[int, int], int | None] = {user: None}

    def add(self, form: OpenedLayer) -> None:
        """Mount a layer; its form is closed.

        Raises:
            NodeSetupFailed: it can't be mounted.
        """
        try:
            if not form.is_sound:
                raise NodeSetupFailed("a layer has a form that this hpcbox doesn't know")
            if form.kind == DIRECTORY:
                tree, owner = _clone(form.descriptors[0]), self._service
            else:
                self._check_files(form)
                tree, owner = _mounted(form), _IMAGE_OWNER
            self.trees.append(tree)
            if not self._is_sure:
                self.unmapped.append(_clone(tree))
            self._give_to_user(tree, owner)
        except OSError as error:
            raise NodeSetupFailed(
                f"cannot mount a layer: {error.strerror}", hint=_hint(form, error)
            ) from error
        finally:
            form.close()

    def close(self) -> None:
        """Close all descriptors."""
        for namespace in self._mappings.values():
            if namespace is not None:
                os.close(namespace)
        self._mappings = {self._user: None}
        for trees in (self.trees, self.unmapped):
            while trees:
                os.close(trees.pop())

    def _check_files(self, form: OpenedLayer) -> None:
        # The kernel trusts a file system: it takes those only that the store's account has written.
        for descriptor in form.descriptors:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != self._service[0]:
                raise NodeSetupFailed("a layer's file doesn't belong to the store's account")

    def _give_to_user(self, tree: int, owner: tuple[int, int]) -> None:
        if owner not in self._mappings:
            try:
                self._mappings[owner] = _mapping(owner, self._user)
            except OSError:
                self._mappings[owner] = None
        namespace = self._mappings[owner]
        if namespace is None:
            return
        try:
            kernel.mount_setattr(tree, attributes=kernel.MOUNT_ATTR_IDMAP, user_namespace=namespace)
        except OSError:
            # EINVAL: this file system has no idmapped mounts; see the module's text.
            return


def _clone(folder: int) -> int:
    tree = kernel.open_tree(folder, "", kernel.OPEN_TREE_CLONE | kernel.AT_EMPTY_PATH)
    kernel.mount_setattr(tree, attributes=_ATTRIBUTES)
    return tree


def _mounted(form: OpenedLayer) -> int:
    if form.kind != EROFS:
        return _mounted_by_loop("squashfs", form.descriptors)
    try:
        return _new_mount("erofs", form.descriptors)
    except OSError as error:
        if error.errno != errno.ENOTBLK:
            raise
    return _mounted_by_loop("erofs", form.descriptors)


def _mounted_by_loop(kind: str, files: list[int]) -> int:
    from hpcbox.rootfs import loop  # noqa: PLC0415 - rarely needed

    devices: list[int] = []
    try:
        for file in files:
            devices.append(loop.attached(file))  # noqa: PERF401 - kept for the clean-up below
        return _new_mount(kind, devices)
    finally:
        # A mounted device lives as long as its mount.
        for device in devices:
            os.close(device)


def _new_mount(kind: str, sources: list[int]) -> int:
    context = kernel.fsopen(kind)
    try:
        kernel.fsconfig_string(context, "source", f"/proc/self/fd/{sources[0]}")
        for source in sources[1:]:
            kernel.fsconfig_string(context, "device", f"/proc/self/fd/{source}")
        kernel.fsconfig_flag(context, "ro")
        kernel.fsconfig_create(context)
        return kernel.fsmount(context, _ATTRIBUTES)
    finally:
        os.close(context)


def _hint(form: OpenedLayer, error: OSError) -> str | None:
    if form.kind == DIRECTORY:
        return None
    if error.errno == errno.EPERM:
        return "layers that are file systems can only be mounted by root: use a store of your own"
    if error.errno in (errno.ENODEV, errno.ENOENT, errno.ENXIO, errno.EBUSY):
        return (
            "this node lacks the file system, or loop devices for it: an administrator sets "
            "sink = \"directory\" and removes the image with 'hpcbox rm'"
        )
    return "remove the image with 'hpcbox rm' and pull it again"


def _mapping(owner: tuple[int, int], user: tuple[int, int]) -> int:
    """Return a user namespace that maps one account to another, and nobody else.

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
        for kind, inside, outside in (("uid", owner[0], user[0]), ("gid", owner[1], user[1])):
            with open(f"/proc/{child}/{kind}_map", "w", encoding="ascii") as file:
                file.write(f"{inside} {outside} 1\n")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        ours.close()
        os.kill(child, kernel.SIGKILL)
        os.waitpid(child, 0)

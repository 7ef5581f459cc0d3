"""Mounted layers to one root: stacked by overlayfs below a writable upper.

Works on descriptors only. Loaded on every node and step; runs as root, or in a user namespace as
the user.
"""

import errno
import os

from hpcbox import kernel
from hpcbox.errors import NodeSetupFailed

ROOT_MODE = 0o755
# The mount data of mount(2) is one page.
_MAX_OPTIONS = 4095


def stack(layers: list[int], upper: tuple[int, int], target: str) -> None:
    """Mount the layers (bottom first) below a writable upper at a path of root's own.

    Args:
        layers: descriptors of the layers' mounts.
        upper: descriptors of the upper and the work directory, on one file system.
        target: root-owned empty folder in this mount namespace.

    Raises:
        NodeSetupFailed: overlayfs refused, with the kernel's reason.
    """
    try:
        if not attached_one_by_one(layers, upper, target):
            attached_at_once(layers, upper, target)
    except OSError as error:
        raise NodeSetupFailed(
            f"overlayfs cannot stack the image's {len(layers)} layers: {error.strerror}"
        ) from error


def attached_one_by_one(layers: list[int], upper: tuple[int, int], target: str) -> bool:
    """Mount by fsconfig(2), a call for each layer: up to 500 of them; as `stack`.

    Returns False when this kernel can't: `lowerdir+` came with Linux 6.5.
    """
    context = kernel.fsopen("overlay")
    try:
        for number, layer in enumerate(reversed(layers)):
            try:
                kernel.fsconfig_string(context, "lowerdir+", _path(layer))
            except OSError as error:
                if number == 0 and error.errno == errno.EINVAL:
                    return False
                raise
        kernel.fsconfig_string(context, "upperdir", _path(upper[0]))
        kernel.fsconfig_string(context, "workdir", _path(upper[1]))
        kernel.fsconfig_flag(context, "userxattr")
        kernel.fsconfig_create(context)
        tree = kernel.fsmount(context, kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV)
    finally:
        os.close(context)
    try:
        kernel.move_mount(tree, kernel.AT_FDCWD, target)
    finally:
        os.close(tree)
    return True


def attached_at_once(layers: list[int], upper: tuple[int, int], target: str) -> None:
    """Mount by mount(2), whose options hold the names of some 200 layers; as `stack`.

    Raises:
        NodeSetupFailed: there are more.
        OSError: overlayfs refused.
    """
    lower = ":".join(_path(layer) for layer in reversed(layers))
    options = f"lowerdir={lower},upperdir={_path(upper[0])},workdir={_path(upper[1])},userxattr"
    if len(options) > _MAX_OPTIONS:
        raise NodeSetupFailed(
            f"the image has {len(layers)} layers: before Linux 6.5 no more than some 200 can be "
            "stacked",
            hint="use an image with fewer layers",
        )
    kernel.mount("overlay", target, "overlay", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"

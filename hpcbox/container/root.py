"""Root's part in making a container: mounts made of descriptors, and nothing else.

What root knows here are descriptors that the service child and the user child opened, attribute
bits, and one root-owned path of its own. It resolves no path of an image or a user and reads
nothing. Loaded on every node and step.
"""

import os
import struct

from hpcbox import kernel, packets
from hpcbox.errors import NodeSetupFailed
from hpcbox.rootfs import overlay
from hpcbox.rootfs.mounting import LayerMounts

# Where the container root is mounted, in the private mount namespace of one step.
FOLDER = "/run/hpcbox"
ROOT = FOLDER + "/root"

# An S packet of the user child: kind of a mount and its MOUNT_ATTR_* bits.
SOURCE = struct.Struct("=BI")
BIND, TMPFS = 0, 1

# What a user's mount may ask for beyond the source's own attributes.
_ATTRIBUTES = (
    kernel.MOUNT_ATTR_RDONLY
    | kernel.MOUNT_ATTR_NOSUID
    | kernel.MOUNT_ATTR_NODEV
    | kernel.MOUNT_ATTR_NOEXEC
)


class Refused(Exception):
    """A child said in an E packet why it can't go on; its text is passed on unread."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


def enter_private_namespace() -> None:
    """Move this process to a mount namespace whose mounts don't reach the node's, but follow it.

    Raises:
        NodeSetupFailed: the kernel refused.
    """
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_SLAVE)
        for folder in (FOLDER, ROOT):
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise NodeSetupFailed(f"cannot make a mount namespace: {error.strerror}") from error


def stack(layers: LayerMounts, user: tuple[int, int], upper_bytes: int, place: str = ROOT) -> int:
    """Stack the layers, which are closed, below a fresh tmpfs upper at a place.

    Returns a descriptor of the root.

    Raises:
        NodeSetupFailed: the kernel refused.
    """
    upper = _upper(user, upper_bytes)
    try:
        overlay.stack(layers.trees, upper, place)
    except NodeSetupFailed:
        if not layers.unmapped:
            raise
        overlay.stack(layers.unmapped, upper, place)
    layers.close()
    # A mount of a folder above the place (`/:/host`) is not to show the root within itself.
    kernel.mount(None, place, None, kernel.MS_UNBINDABLE)
    return os.open(place, os.O_PATH | os.O_CLOEXEC)


def _upper(user: tuple[int, int], size_bytes: int) -> tuple[int, int]:
    """Return descriptors of an upper and a work directory that belong to the user."""
    size = str(size_bytes) if size_bytes else "50%"
    tree = new_file_system("tmpfs", {"mode": "0755", "size": size})
    pair = []
    for name in ("upper", "work"):
        os.mkdir(name, overlay.ROOT_MODE, dir_fd=tree)
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
        os.fchown(folder, *user)
        pair.append(folder)
    return pair[0], pair[1]


def new_file_system(kind: str, options: dict[str, str]) -> int:
    """Return a detached mount, nosuid and nodev, of a new file system of this kind.

    Raises:
        OSError: the kernel refused.
    """
    context = kernel.fsopen(kind)
    try:
        for key, value in options.items():
            kernel.fsconfig_string(context, key, value)
        kernel.fsconfig_create(context)
        return kernel.fsmount(context, kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV)
    finally:
        os.close(context)


def mount_folders(socket: packets.Socket, root: int, image_part: int, user: tuple[int, int]) -> int:
    """Execute the mounts that the user child names; return the environment's descriptor.

    Raises:
        Refused: the user child can't go on.
        NodeSetupFailed: it died, or the kernel refused a mount.
    """
    packets.send(socket, b"R", b"", (root, image_part))
    source: packets.Packet | None = None
    while True:
        packet = expect(packets.receive(socket), b"STF", "user")
        if packet.kind == b"F":
            return packet.descriptors[0]
        if packet.kind == b"S":
            source = packet
            continue
        if source is None:
            raise NodeSetupFailed("the user's process named a target before its source")
        _attach(source, packet.descriptors[0], user)
        source = None
        packets.send(socket, b"K")


def _attach(packet: packets.Packet, target: int, user: tuple[int, int]) -> None:
    kind, attributes = SOURCE.unpack(packet.payload)
    try:
        attach(packet.descriptors[0] if kind == BIND else None, attributes, target, user)
    finally:
        for descriptor in (*packet.descriptors, target):
            os.close(descriptor)


def attach(source: int | None, attributes: int, target: int, user: tuple[int, int]) -> None:
    """Mount a source with all that is mounted below it, or for None a tmpfs of the user's.

    Args:
        source: descriptor of what is to be seen at the target.
        attributes: MOUNT_ATTR_* to add to those of the source.
        target: descriptor of the place in the container root.
        user: (uid, gid) of the job's user.

    Raises:
        NodeSetupFailed: the kernel refused.
    """
    try:
        if source is None:
            owner = {"uid": str(user[0]), "gid": str(user[1])}
            tree = new_file_system("tmpfs", {"mode": "0755", **owner})
        else:
            flags = kernel.OPEN_TREE_CLONE | kernel.AT_EMPTY_PATH | kernel.AT_RECURSIVE
            tree = kernel.open_tree(source, "", flags)
        attach_tree(tree, attributes, target)
    except OSError as error:
        raise NodeSetupFailed(f"a mount of the container failed: {error.strerror}") from error


def attach_tree(tree: int, attributes: int, target: int) -> None:
    """Mount a detached tree, whose descriptor is closed, with further attributes at a target.

    Raises:
        OSError: the kernel refused.
    """
    try:
        kernel.mount_setattr(tree, attributes=attributes & _ATTRIBUTES, recursive=True)
        kernel.move_mount(tree, target)
    finally:
        os.close(tree)


def expect(packet: packets.Packet | None, kinds: bytes, who: str) -> packets.Packet:
    """Return a child's packet if it is of an expected kind.

    Raises:
        Refused: it is an E packet.
        NodeSetupFailed: the child has died or said something else.
    """
    if packet is None:
        raise NodeSetupFailed(f"the {who} process of the container's set-up died")
    if packet.kind == b"E":
        raise Refused(packet.payload)
    if packet.kind not in kinds:
        raise NodeSetupFailed(f"the {who} process of the container's set-up spoke out of turn")
    return packet


def pivot(root: int) -> None:
    """Make the container root this namespace's root. Afterwards only send and exit.

    From here on a path that this process used would be one of the image.
    """
    os.fchdir(root)
    kernel.mount(None, ".", None, kernel.MS_PRIVATE)
    kernel.pivot_root(".", ".")
    kernel.umount2(".", kernel.MNT_DETACH)

"""The container root of user mode, made by one process that is the user and nobody else.

The same sources, targets, attributes and files as in site mode (places.py, root.py, identity.py);
what differs is who mounts: here the user does, in a user namespace of their own, and /proc is that
of the container's pid namespace.
"""

import errno
import os

from hpcbox import kernel
from hpcbox.container import identity, places
from hpcbox.container import root as container_root
from hpcbox.container.mounts import folder_mounts, kernel_mounts
from hpcbox.errors import NodeSetupFailed
from hpcbox.request.mounts import NODEV, NOEXEC, NOSUID, Mount
from hpcbox.request.wire import ContainerRequest
from hpcbox.rootfs.mounting import LayerMounts
from hpcbox.store import images
from hpcbox.store.opened_layer import OpenedLayer

OWN_FOLDER = "/run/hpcbox"

_HIDDEN_PROC = (
    "/proc in the container is this node's: parts of it are hidden here (as in a container of "
    "Docker), and then the kernel allows no other"
)


class Plan:
    """What a user container is made of.

    Attributes:
        request: what the user asked for.
        record: the image's record; the image is complete in the store.
        store: the user's store.
        site_mounts: folders of the node that every container sees.
        upper_bytes: size limit of the writable layer, 0 for half of the node's memory.
        own_folder: folder of the node that is seen at OWN_FOLDER inside, or None.
    """

    __slots__ = ("own_folder", "record", "request", "site_mounts", "store", "upper_bytes")

    def __init__(
        self,
        request: ContainerRequest,
        record: images.ImageRecord,
        *,
        store: str,
        site_mounts: tuple[str, ...],
        upper_bytes: int,
        own_folder: str | None,
    ) -> None:
        self.request = request
        self.record = record
        self.store = store
        self.site_mounts = site_mounts
        self.upper_bytes = upper_bytes
        self.own_folder = own_folder

    def mounts(self) -> list[Mount]:
        """Return all mounts in their order.

        Raises:
            MountRefused: the user's list breaks the grammar or the rules.
        """
        mounts = kernel_mounts() + folder_mounts(self.request, self.site_mounts)
        if self.own_folder is not None:
            attributes = NOSUID | NODEV
            own = Mount(self.own_folder, OWN_FOLDER, attributes, required=True, origin="hpcbox")
            mounts.append(own)
        return mounts


class Made:
    """A container root as it has become.

    Attributes:
        workdir, workdir_origin: where tasks start, and whose choice that is.
        mounts: those that were made.
        notes: lines for the user: what isn't quite as it should be.
    """

    __slots__ = ("mounts", "notes", "workdir", "workdir_origin")

    def __init__(
        self, workdir: tuple[str, str], mounts: list[Mount], notes: tuple[str, ...]
    ) -> None:
        self.workdir, self.workdir_origin = workdir
        self.mounts = mounts
        self.notes = notes


def make(plan: Plan) -> Made:
    """Make the container root and make it this process's root.

    To be called in namespaces of its own (user_namespace.enter), by the first process of the pid
    namespace.

    Raises:
        MountRefused: a mount has no source or no place.
        StoreError: a layer is missing.
        NodeSetupFailed: the kernel refused.
    """
    user = (os.geteuid(), os.getegid())
    # Opened in this mount namespace, before the root covers the store: the user can mount these.
    sources = places.open_sources(plan.mounts())
    root = _stack_layers(images.open_layers(plan.store, plan.record), user, plan)
    identity.write_files(root)
    made: list[Mount] = []
    notes: tuple[str, ...] = ()
    for mount, source, target in places.targets(root, sources):
        if mount.target == "/proc":
            notes += _attach_proc(source, mount, target, user)
        else:
            container_root.attach(source, mount.attributes, target, user)
        if mount.target == "/dev" and plan.own_folder is not None:
            _attach_shared_memory(root, user)
        os.close(target)
        made.append(mount)
    workdir = places.working_directory(plan.request, plan.record.workdir, root)
    container_root.pivot(root)
    os.chdir("/")
    return Made(workdir, made, notes)


def _attach_shared_memory(root: int, user: tuple[int, int]) -> None:
    """Give the ranks of a launch a /dev/shm of their own.

    What MPI leaves there when it is killed goes with the container.
    """
    resolve = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_SYMLINKS
    try:
        target = kernel.openat2(root, "/dev/shm", os.O_PATH | os.O_DIRECTORY, resolve)  # noqa: S108
    except OSError:
        return  # a node without one: nothing can be left there
    container_root.attach(None, NOSUID | NODEV, target, user)
    os.close(target)


def _stack_layers(forms: list[OpenedLayer], user: tuple[int, int], plan: Plan) -> int:
    layers = LayerMounts(user, user)
    try:
        for form in forms:
            layers.add(form)
        # The store is a folder that exists for sure, and that no container needs to see.
        return container_root.stack(layers, user, plan.upper_bytes, plan.store)
    except NodeSetupFailed as error:
        raise NodeSetupFailed(error.message, hint=error.hint or _kernel_hint()) from error
    except OSError as error:
        raise NodeSetupFailed(
            f"cannot mount the container's root: {error.strerror}", hint=_kernel_hint()
        ) from error


def _kernel_hint() -> str:
    return (
        "overlayfs in a user namespace needs Linux 5.11 or newer and a store on a local disk; "
        f"this is Linux {os.uname().release}"
    )


def _attach_proc(
    source: int | None, mount: Mount, target: int, user: tuple[int, int]
) -> tuple[str, ...]:
    """Mount a /proc of this pid namespace; return what is to be said to the user."""
    try:
        tree = container_root.new_file_system("proc", {})
        container_root.attach_tree(tree, mount.attributes | NOEXEC, target)
    except OSError as error:
        # mount_too_revealing(): somebody hides parts of /proc here (Docker does, as root).
        if error.errno != errno.EPERM:
            raise NodeSetupFailed(f"cannot mount /proc: {error.strerror}") from error
        container_root.attach(source, mount.attributes, target, user)
        return (_HIDDEN_PROC,)
    return ()

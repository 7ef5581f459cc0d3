"""Which form the layers of a site's store get: one probe, one table.

    the node has                                        form, and how it is mounted
    ──────────────────────────────────────────────────────────────────────────────────────────
    erofs, Linux 6.12, the store on a disk              index, from the file itself
    erofs, Linux 6.4, loop devices                      index, by loop devices
    erofs, Linux 5.19, loop devices                     erofs, by a loop device
    squashfs, Linux 6.2, loop devices                   squashfs, if the site demands it
    none of these                                       directory
    no service user (user mode)                         directory

An index costs a pull least: the tar is written as it came, and names beside it; squashfs costs the
disk least, and takes the time to compress. Files of tmpfs and overlayfs can only be mounted by loop
devices: erofs reads files by their file system's own means, and those two have none. Before Linux
5.19 overlayfs took no idmapped layers, so folders are as good; idmapped squashfs came with 6.2. The
setting `sink` demands a form; one that the node can't mount is an error. Layers that are in the
store already keep the form they have, and forms can be mixed in one image.
"""

import os
from typing import NamedTuple

from hpcbox import kernel
from hpcbox.errors import SettingsError
from hpcbox.rootfs import loop
from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.rootfs.squashfs_sink import SquashfsSink
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.settings import AUTO, Settings
from hpcbox.store.forms import DIRECTORY, EROFS, INDEX, SQUASHFS
from hpcbox.store.sink import LayerSink

_SINKS: dict[str, type[LayerSink]] = {
    INDEX: IndexSink,
    EROFS: ErofsSink,
    SQUASHFS: SquashfsSink,
    DIRECTORY: DirectorySink,
}

_FROM_FILE = (6, 12)
# What the forms need: blocks of 512 bytes; overlayfs on idmapped layers; idmapped squashfs.
_OLDEST_INDEX, _OLDEST_EROFS, _OLDEST_SQUASHFS = (6, 4), (5, 19), (6, 2)
# linux/magic.h: tmpfs, ramfs, overlayfs.
_NO_FILES_OF = frozenset({0x01021994, 0x858458F6, 0x794C7630})


class Features(NamedTuple):
    """What decides.

    Attributes:
        release: the kernel's, as (6, 12).
        has_erofs: whether the kernel has erofs, perhaps as a module.
        has_squashfs: whether it has squashfs.
        has_loop: whether there are loop devices.
        store_type: statfs(2)'s number of the store's file system.
    """

    release: tuple[int, int]
    has_erofs: bool
    has_squashfs: bool
    has_loop: bool
    store_type: int


def probe(store: str) -> Features:
    """Return what this node has; asked by root, as others may not (then it has nothing).

    Raises:
        OSError: the disk fails.
    """
    folder = store
    while not os.path.isdir(folder):
        # The first pull makes the store.
        folder = os.path.dirname(folder)
    return Features(
        release=kernel.release(),
        has_erofs=_has_file_system("erofs"),
        has_squashfs=_has_file_system("squashfs"),
        has_loop=loop.is_available(),
        store_type=kernel.file_system_type(folder),
    )


def choose(features: Features, wanted: str = AUTO) -> str:
    """Return the form that layers get, one of forms.FORMS; `wanted` is the setting.

    Raises:
        SettingsError: the node can't mount the form that is wanted.
    """
    forms = _mountable(features)
    if wanted == AUTO:
        return next(form for form in forms if form != SQUASHFS)
    if wanted not in forms:
        raise SettingsError(
            f"this node can't mount layers of the form '{wanted}', which the setting sink demands: "
            "index needs Linux 6.4, erofs Linux 5.19, both of them erofs in the kernel, and loop "
            "devices or, from Linux 6.12, a store on a disk; squashfs needs Linux 6.2 and loop "
            "devices",
            hint='set sink = "auto"',
        )
    return wanted


def _mountable(features: Features) -> list[str]:
    """Return the forms that a node can mount, the best first."""
    release = features.release
    from_file = release >= _FROM_FILE and features.store_type not in _NO_FILES_OF
    has_erofs = features.has_erofs and (from_file or features.has_loop)
    has_squashfs = features.has_squashfs and features.has_loop
    conditions = {
        INDEX: has_erofs and release >= _OLDEST_INDEX,
        EROFS: has_erofs and release >= _OLDEST_EROFS,
        SQUASHFS: has_squashfs and release >= _OLDEST_SQUASHFS,
        DIRECTORY: True,
    }
    return [form for form, is_met in conditions.items() if is_met]


def sink_of(form: str) -> LayerSink:
    """Return what makes layers of a form that `choose` has returned."""
    return _SINKS[form]()


def own_sink(settings: Settings) -> LayerSink:
    """Return what makes the layers of the store that this process's account pulls into.

    To be called while root is still root.

    Raises:
        SettingsError: as `choose` does.
    """
    if os.geteuid() != 0 or not settings.service_user:
        return DirectorySink()
    return sink_of(choose(probe(settings.store), settings.sink))


def _has_file_system(kind: str) -> bool:
    try:
        # The kernel loads the module, if there is one.
        os.close(kernel.fsopen(kind))
    except OSError:
        return False
    return True

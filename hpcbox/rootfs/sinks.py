"""Which form the layers of a site's store get: one probe, one table.

    the node has                                        form, and how it is mounted
    ──────────────────────────────────────────────────────────────────────────────────────────
    erofs, Linux 6.12, the store on a disk              index, from the file itself
    erofs, Linux 6.4, loop devices                      index, by loop devices
    erofs, Linux 5.19, loop devices                     erofs, by a loop device
    none of these                                       directory
    no service user (user mode)                         directory

An index costs a pull least: the tar is written as it came, and names beside it. Files of tmpfs and
overlayfs can only be mounted by loop devices (erofs reads files by their file system's own means,
and those two have none). Before Linux 5.19 overlayfs took no idmapped layers, so folders are as
good. The setting `sink` demands a form; one that the node can't mount is an error. Layers that are
in the store already keep the form they have, and forms can be mixed in one image.
"""

import os
from typing import NamedTuple

from hpcbox import kernel
from hpcbox.errors import SettingsError
from hpcbox.rootfs import loop
from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.settings import AUTO, Settings
from hpcbox.store.sink import LayerSink

DIRECTORY, INDEX, EROFS = "directory", "index", "erofs"
_SINKS: dict[str, type[LayerSink]] = {
    INDEX: IndexSink,
    EROFS: ErofsSink,
    DIRECTORY: DirectorySink,
}

_FROM_FILE = (6, 12)
# What each image needs: blocks of 512 bytes; overlayfs on idmapped layers.
_OLDEST = {INDEX: (6, 4), EROFS: (5, 19)}
# linux/magic.h: tmpfs, ramfs, overlayfs.
_NO_FILES_OF = frozenset({0x01021994, 0x858458F6, 0x794C7630})


class Features(NamedTuple):
    """What decides.

    Attributes:
        release: the kernel's, as (6, 12).
        has_erofs: whether the kernel has erofs, perhaps as a module.
        has_loop: whether there are loop devices.
        store_type: statfs(2)'s number of the store's file system.
    """

    release: tuple[int, int]
    has_erofs: bool
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
        has_loop=loop.is_available(),
        store_type=kernel.file_system_type(folder),
    )


def choose(features: Features, wanted: str = AUTO) -> str:
    """Return the form that layers get: DIRECTORY, INDEX or EROFS; `wanted` is the setting.

    Raises:
        SettingsError: the node can't mount the form that is wanted.
    """
    forms = [form for form, oldest in _OLDEST.items() if _mounts(features, oldest)]
    forms.append(DIRECTORY)
    if wanted == AUTO:
        return forms[0]
    if wanted not in forms:
        raise SettingsError(
            f"this node can't mount layers of the form '{wanted}', which the setting sink demands: "
            "index needs Linux 6.4, erofs Linux 5.19, both of them erofs in the kernel, and loop "
            "devices or, from Linux 6.12, a store on a disk",
            hint='set sink = "auto"',
        )
    return wanted


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


def _mounts(features: Features, oldest: tuple[int, int]) -> bool:
    from_file = features.release >= _FROM_FILE and features.store_type not in _NO_FILES_OF
    return features.has_erofs and features.release >= oldest and (from_file or features.has_loop)


def _has_file_system(kind: str) -> bool:
    try:
        # The kernel loads the module, if there is one.
        os.close(kernel.fsopen(kind))
    except OSError:
        return False
    return True

"""The grammar of --container-mounts: `SRC:DST[:flags]`, `SRC`, `tmpfs:DST`, separated by commas.

Flags are joined with `+`: ro, rw, nosuid, nodev, noexec; bind, rbind, private, slave and their
r-forms say what happens anyway and are accepted, since scripts written for pyxis have them.
Pure: nothing is looked at on disk here. Loaded on every node and step.
"""

import os.path

from hpcbox.errors import MountRefused

RDONLY = 0x1  # MOUNT_ATTR_* of mount_setattr(2)
NOSUID = 0x2
NODEV = 0x4
NOEXEC = 0x8

_FLAGS = {"ro": RDONLY, "rw": 0, "nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC}
_IMPLIED = frozenset(
    ("bind", "rbind", "private", "rprivate", "slave", "rslave", "x-create=auto", "x-create=dir")
)
_KERNEL_TREES = ("/proc", "/sys", "/dev")


class Mount:
    """One mount to be made inside the container.

    Attributes:
        source: absolute path on the node, or "" for a tmpfs.
        target: absolute path inside, normal form.
        attributes: MOUNT_ATTR_* to add; those of the source stay.
        origin: who wants it, for people.
        required: whether a missing source is an error or the mount is left out.
    """

    __slots__ = ("attributes", "origin", "required", "source", "target")

    def __init__(
        self,
        source: str,
        target: str,
        attributes: int,
        *,
        required: bool,
        origin: str = "--container-mounts",
    ) -> None:
        self.source = source
        self.target = target
        self.attributes = attributes
        self.required = required
        self.origin = origin


def parse(text: str, cwd: str) -> list[Mount]:
    """Return the mounts of a --container-mounts value; relative sources are below `cwd`.

    Raises:
        MountRefused: an entry breaks the grammar or has a target that no mount may have.
    """
    return [_parse_entry(entry, cwd) for entry in text.split(",") if entry]


def _parse_entry(entry: str, cwd: str) -> Mount:
    parts = entry.split(":")
    if len(parts) > 3 or not parts[0]:
        raise MountRefused(
            f"cannot read the mount '{entry}'", hint="write SRC:DST[:flags], SRC or tmpfs:DST"
        )
    source = parts[0]
    target = parts[1] if len(parts) > 1 else source
    attributes = _parse_flags(parts[2], entry) if len(parts) > 2 else 0
    if source == "tmpfs" and len(parts) > 1:
        return Mount("", check_target(target), attributes | NOSUID | NODEV, required=True)
    source = os.path.normpath(os.path.join(cwd or "/", source))
    if len(parts) == 1:
        target = source
    return Mount(source, check_target(target), attributes | NOSUID | NODEV, required=True)


def _parse_flags(text: str, entry: str) -> int:
    attributes = 0
    for flag in text.split("+"):
        if flag in _IMPLIED:
            continue
        if flag not in _FLAGS:
            raise MountRefused(
                f"unknown flag '{flag}' in the mount '{entry}'",
                hint=f"known are {', '.join(_FLAGS)}, joined with +",
            )
        attributes |= _FLAGS[flag]
    return attributes


def check_target(target: str) -> str:
    """Return a mount's target in normal form.

    Raises:
        MountRefused: the target isn't absolute, climbs with `..`, or is /, /proc, /sys, /dev or
            below one of those.
    """
    if not target.startswith("/"):
        raise MountRefused(f"the mount target '{target}' is not an absolute path")
    if ".." in target.split("/"):
        raise MountRefused(f"the mount target '{target}' climbs with '..'", hint="write it plainly")
    normal = "/" + "/".join(part for part in target.split("/") if part not in ("", "."))
    if normal == "/" or is_kernel_tree(normal):
        raise MountRefused(
            f"nothing may be mounted over {normal}",
            hint="the container's root, /proc, /sys and /dev belong to hpcbox",
        )
    return normal


def is_kernel_tree(path: str) -> bool:
    """Whether a path is /proc, /sys, /dev or below one of them."""
    return any(path == tree or path.startswith(tree + "/") for tree in _KERNEL_TREES)

"""How much memory a step has, and whether that is enough to pull an image in it.

The container is made inside the step's cgroup, so a small memory limit meets the pull. It is
better to say what is needed than to be killed half-way.
"""

import os

from hpcbox.errors import NodeSetupFailed

# Measured: a pull's processes peak at about 110 MB resident; the rest is room for dirty pages.
NEEDED_BYTES = 160 * 2**20

_V1 = "/sys/fs/cgroup/memory"
_V2 = "/sys/fs/cgroup"


def check(image: str) -> None:
    """Refuse to pull in less memory than a pull needs.

    Raises:
        NodeSetupFailed: the limit of this process's cgroup is too small.
    """
    limit = limit_bytes()
    if limit is not None and limit < NEEDED_BYTES:
        raise NodeSetupFailed(
            f"this step may use {limit // 2**20} MB of memory per node, and pulling {image} needs "
            f"{NEEDED_BYTES // 2**20} MB",
            hint="ask for more with --mem, or pull the image in a larger step before",
        )


def limit_bytes() -> int | None:
    """Return the smallest memory limit above this process, or None when there is none.

    cgroup v1 gives it in memory.stat (cgroups(7)); v2 has one memory.max a level.
    """
    for line in _read("/proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _v1_limit(_V1 + path)
        if number == "0" and os.path.exists(f"{_V2}/cgroup.controllers"):
            return _v2_limit(path)
    return None


def _v1_limit(folder: str) -> int | None:
    for line in _read(f"{folder}/memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "hierarchical_memory_limit":
            # "No limit" is the largest multiple of a page.
            return int(value) if int(value) < 2**60 else None
    return None


def _v2_limit(path: str) -> int | None:
    limits = []
    while path not in ("/", ""):
        text = _read(f"{_V2}{path}/memory.max").strip()
        if text.isdigit():
            limits.append(int(text))
        path = os.path.dirname(path)
    return min(limits, default=None)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""

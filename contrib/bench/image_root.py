"""A pulled image's root, for bench-images; run as root, prints JSON.

    python image_root.py STORE DIGEST UID run COMMAND…     seconds of a command in it
    python image_root.py FOLDER ""    UID run COMMAND…     the same in an unpacked folder
    python image_root.py STORE DIGEST UID copy FOLDER      copy it to a folder
    python image_root.py STORE DIGEST UID compare FOLDER   how many paths differ from umoci's tree

`run` gives {"mount": …, "cold": …, "warm": …}: the time to mount, of the first run after the page
cache was dropped, and the median of the next ones. The root is mounted by the code that containers
use.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from hpcbox import kernel  # noqa: E402
from hpcbox.container import root  # noqa: E402
from hpcbox.rootfs import policy  # noqa: E402
from hpcbox.rootfs.mounting import LayerMounts  # noqa: E402
from hpcbox.store import images  # noqa: E402
from tests.services.trees import differences, tree_of  # noqa: E402

WARM_RUNS = 3


def mounted(store: str, digest: str, uid: int) -> str:
    """Mount an image of a store, or an unpacked folder, and return where."""
    root.enter_private_namespace()
    if digest:
        record = images.read_record(store, digest.removeprefix("sha256:"))
        if record is None:
            raise SystemExit(f"{digest} is not in {store}")
        account = (uid, uid)
        layers = LayerMounts(account, account)
        for form in images.open_layers(store, record):
            layers.add(form)
        os.close(root.stack(layers, account, 0))
    else:
        kernel.mount(store, root.ROOT, None, kernel.MS_BIND | kernel.MS_REC)
    return root.ROOT


def timed(place: str, command: list[str]) -> float:
    """Run a command in a root; return its seconds."""
    start = time.perf_counter()
    subprocess.run(
        ["chroot", place, *command],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def run(place: str, command: list[str]) -> dict[str, float]:
    """Run a command in a root, first with a cold page cache."""
    for name in ("dev", "proc"):
        kernel.mount(f"/{name}", f"{place}/{name}", None, kernel.MS_BIND | kernel.MS_REC)
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")
    cold = timed(place, command)
    return {
        "cold": cold,
        "warm": statistics.median(timed(place, command) for _ in range(WARM_RUNS)),
    }


def compare(place: str, folder: str) -> int:
    """Return how many paths of a root aren't as umoci's folder has them; name some on stderr."""
    ours = _compared(tree_of(Path(place)))
    theirs = _compared(tree_of(Path(folder)))
    found = differences(ours, theirs)
    for line in found[:10]:
        print(line, file=sys.stderr)
    return len(found)


def _compared(tree: dict[str, str]) -> dict[str, str]:
    """Leave out what differs by design: setuid bits, and names of a file that a layer hides."""
    found = {}
    for path, what in tree.items():
        kind, _, rest = what.removesuffix(f" same as {path}").partition(" ")
        if kind == "file":
            mode, _, rest = rest.partition(" ")
            rest = f"{int(mode, 8) & policy.FILE_BITS:o} {rest}"
        found[path] = f"{kind} {rest}"
    return found


def main(store: str, digest: str, uid: int, act: str, words: list[str]) -> None:
    """Mount, then copy, compare or run."""
    start = time.perf_counter()
    place = mounted(store, digest, uid)
    mount_seconds = time.perf_counter() - start
    if act == "copy":
        subprocess.run(["cp", "-a", f"{place}/.", words[0]], check=True)
    elif act == "compare":
        print(json.dumps(compare(place, words[0])))
    else:
        print(json.dumps({"mount": mount_seconds, **run(place, words)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:])

"""The first command in a pulled image, for bench-images; run as root, prints JSON.

    python image_first_run.py STORE DIGEST UID COPY            copy the mounted root to a folder
    python image_first_run.py STORE DIGEST UID - COMMAND…      seconds of a command in it
    python image_first_run.py ROOT "" UID - COMMAND…           the same in an unpacked folder

{"mount": …, "cold": …, "warm": …}: the time to mount, of the first run after the page cache was
dropped, and the median of the next ones. The root is mounted by the code that containers use.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

from hpcbox import kernel
from hpcbox.container import root
from hpcbox.rootfs.mounting import LayerMounts
from hpcbox.store import images

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


def main(store: str, digest: str, uid: int, copy: str, command: list[str]) -> None:
    """Mount, then copy or run."""
    start = time.perf_counter()
    place = mounted(store, digest, uid)
    mount_seconds = time.perf_counter() - start
    if copy != "-":
        subprocess.run(["cp", "-a", f"{place}/.", copy], check=True)
        return
    for name in ("dev", "proc"):
        kernel.mount(f"/{name}", f"{place}/{name}", None, kernel.MS_BIND | kernel.MS_REC)
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")
    cold = timed(place, command)
    warm = statistics.median(timed(place, command) for _ in range(WARM_RUNS))
    print(json.dumps({"mount": mount_seconds, "cold": cold, "warm": warm}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:])

"""Pulls into stores that are too small, one after the other: run in a mount namespace of its own.

    unshare --mount python -m tests.services.cramped_pulls FORM IMAGE STORE SERVICE_UID OPTIONS…

Each of OPTIONS is what a tmpfs is mounted at STORE with, as `size=500k`. Prints a JSON list with an
object for each: how the pull ended, what the store shows, and what gc finds afterwards. With a
SERVICE_UID other than 0 the pull is one of two accounts, as on a node.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

from hpcbox.errors import HpcboxError
from hpcbox.image.reference import parse
from hpcbox.rootfs import sinks
from hpcbox.rootfs.sources import source_of
from hpcbox.settings import Settings
from hpcbox.store import collect
from hpcbox.store.pull import Limits, pull
from tests.services import relayed_pull

_USER = 65532
_LIMITS = Limits(2**34, 10**6, 3)


def main(form: str, image: str, store: str, service_uid: int, options: list[str]) -> None:
    """Pull and print."""
    print(json.dumps([_one(form, image, store, service_uid, option) for option in options]))


def _one(form: str, image: str, store: str, service_uid: int, option: str) -> dict[str, Any]:
    mode = f"mode=0700,uid={service_uid},gid={service_uid},{option}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", mode, "tmpfs", store], check=True)
    try:
        answer: dict[str, Any] = {"option": option, "error": None, "code": 0}
        if service_uid:
            answer["error"] = relayed_pull.pulled(store, service_uid, _USER, image, form=form)[
                "error"
            ]
        else:
            try:
                _pull(form, image, store)
            except HpcboxError as error:
                answer.update(error=str(error), code=error.exit_code)
        # Threads of a pull that failed may still be closing their files.
        deadline = time.monotonic() + 5
        while _listed(store, "tmp") and time.monotonic() < deadline:
            time.sleep(0.01)
        for name in ("layers", "images", "tmp", "leases"):
            answer[name] = _listed(store, name)
        if os.path.isdir(f"{store}/locks") and os.path.exists(f"{store}/locks/store.lock"):
            found = collect.collect(store, collect.all_unused)
            answer["freed"] = found.freed_bytes
            answer["left"] = [*_listed(store, "layers"), *_listed(store, "images")]
        return answer
    finally:
        subprocess.run(["umount", store], check=True)


def _pull(form: str, image: str, store: str) -> None:
    settings = Settings(store=store)
    source = source_of(parse(image), settings)
    pull(source, store, sinks._SINKS[form](), _LIMITS, lambda _progress: None)


def _listed(store: str, name: str) -> list[str]:
    folder = f"{store}/{name}"
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])

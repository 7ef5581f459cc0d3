"""The lab's second registry, 10.77.0.1:5001: each of its images is odd in its own way.

Run inside the lab, as `python -m tests.services.odd_registry`; says "ready" when it answers and
ends when its stdin does.
"""

from __future__ import annotations

import base64
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import leaning_images
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.small_images import (
    compressed,
    digest,
    file,
    folder,
    hardlink,
    opaque,
    push_image,
    symlink,
    tar,
    whiteout,
)
from tests.services.spec import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.slurm import Cluster

PASSWORD = "odd s3cret"
HOST, PORT = "10.77.0.1", 5001
STALL_AFTER_BYTES = 2**20
LARGE_BYTES = 320 * 2**20

HOSTILE = {
    "dotdot": (tar(file("../../escaped")),),
    "absolute-link": (tar(symlink("out", "/.."), file("out/../../escaped")),),
    "own-symlink": (tar(symlink("out", "../../.."), file("out/escaped")),),
    "lower-symlink": (tar(symlink("out", "../../../..")), tar(file("out/escaped"))),
    "hardlink": (tar(hardlink("shadow", "../../../../etc/shadow")),),
    "root-whiteout": (tar(whiteout("..")),),
}


@contextmanager
def serving(cluster: Cluster) -> Iterator[str]:
    """Run it in a lab as long as the with block lasts; gives its HOST:PORT."""
    server = cluster.start(
        ["/opt/hpcbox/bin/python3", "-m", "tests.services.odd_registry"],
        user="root",
        cwd=str(REPOSITORY),
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield f"{HOST}:{PORT}"
        server.kill()


def fill(registry: BadRegistry) -> None:
    """Push every image."""
    noise = os.urandom(4 * STALL_AFTER_BYTES)
    good = tar(file("etc/hello", b"hello\n"))
    push_image(registry, "stalls:1", tar(file("noise", noise)))
    stalled = digest(compressed(tar(file("noise", noise)), "gzip"))
    registry.spoil(f"/v2/stalls/blobs/{stalled}", Fault(stall_after=STALL_AFTER_BYTES))
    push_image(registry, "refused:1", good)
    registry.spoil("/v2/refused/", Fault(status=401))
    push_image(registry, "wrongdigest:1", good)
    registry.spoil(
        f"/v2/wrongdigest/blobs/{digest(compressed(good, 'gzip'))}",
        Fault(alter=lambda body: body[:-1] + bytes([body[-1] ^ 1])),
    )
    push_image(registry, "wrongdiff:1", good, diff_ids=[digest(b"something else")])
    for name, layers in HOSTILE.items():
        push_image(registry, f"{name}:1", *layers)
    push_image(registry, "hides:1", *_hiding())
    push_image(registry, "base:1", leaning_images.base())
    push_image(registry, "leaning:1", *leaning_images.leaning())
    push_image(registry, "many:1", *leaning_images.many())
    push_image(registry, "private/app:1", *_hiding())
    registry.serve("/v2/", b"{}")
    registry.guard = _ask_for_password
    push_image(registry, "large:1", tar(file("large", os.urandom(LARGE_BYTES))), how="none")


def _ask_for_password(path: str, headers: dict[str, str]) -> dict[str, str] | None:
    """Let only alice to what is private, and to the question whether this is a registry."""
    if not path.startswith("/v2/private/") and path != "/v2/":
        return None
    pair = base64.b64encode(b"alice:" + PASSWORD.encode()).decode()
    known = headers.get("Authorization") == f"Basic {pair}"
    return None if known else {"WWW-Authenticate": 'Basic realm="odd"'}


def _hiding() -> tuple[bytes, bytes]:
    """Layers of which the upper one hides everything in the lower one that is named so."""
    busybox = file("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755)
    lower = [folder("all"), file("all/hidden"), file("hidden"), file("shown")]
    return (
        tar(folder("bin"), busybox, *lower),
        tar(whiteout("hidden"), opaque("all"), file("all/shown")),
    )


def main() -> None:
    """Serve until stdin ends."""
    with BadRegistry(HOST, PORT) as registry:
        fill(registry)
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

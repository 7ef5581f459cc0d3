"""A pull by two accounts, as on a node: run as root, prints one line of JSON.

    python -m tests.services.relayed_pull STORE SERVICE_UID USER_UID IMAGE [STALL_SECONDS [FORM]]

The fetcher becomes USER_UID and has the network; the writer becomes SERVICE_UID and has none.
"""

import json
import sys
from typing import Any

from hpcbox import packets, principals
from hpcbox.image import relay
from hpcbox.image.reference import parse
from hpcbox.rootfs import sinks
from hpcbox.rootfs.sources import source_of
from hpcbox.settings import Settings
from hpcbox.store import writer
from hpcbox.store.pull import Limits


def pulled(
    store: str,
    service_uid: int,
    user_uid: int,
    image: str,
    *,
    stall_seconds: float = 30.0,
    form: str = "directory",
) -> dict[str, Any]:
    """Pull and return {"progress": […], "error": …, "digest": …}."""
    fetcher_end, writer_end = packets.pair()
    settings = Settings(store=store, stall_seconds=stall_seconds, retry_seconds=3 * stall_seconds)

    def fetch(root: packets.Socket) -> None:
        source = source_of(parse(image), settings)
        relay.serve(
            fetcher_end, source, lambda seen: packets.send(root, b"P", seen.line().encode())
        )

    def write(root: packets.Socket) -> None:
        limits = Limits(2**34, 10**6, 3)
        digest = writer.write(writer_end, store, user_uid, sinks._SINKS[form](), limits)
        packets.send(root, b"D", digest.encode())

    reports = _fork((user_uid, user_uid, ()), fetch, fetcher_end, network=True)
    result = _fork((service_uid, service_uid, ()), write, writer_end, network=False)
    fetcher_end.close()
    writer_end.close()
    said: dict[str, Any] = {"progress": [], "error": None, "digest": None}
    while (packet := packets.receive(reports)) is not None:
        if packet.kind == b"E":
            said["error"] = packet.payload.decode()
        else:
            said["progress"].append(packet.payload.decode())
    packet = packets.receive(result)
    if packet is not None and packet.kind == b"D":
        said["digest"] = packet.payload.decode()
    return said


def _fork(
    account: tuple[int, int, tuple[int, ...]],
    role: Any,
    kept: packets.Socket,
    *,
    network: bool,
) -> packets.Socket:
    ours, theirs = packets.pair()
    principals.fork(account, role, theirs, keep=(kept.fileno(),), network=network)
    theirs.close()
    return ours


if __name__ == "__main__":
    said = pulled(
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4],
        stall_seconds=float(sys.argv[5]) if len(sys.argv) > 5 else 30.0,
        form=sys.argv[6] if len(sys.argv) > 6 else "directory",
    )
    print(json.dumps(said))

"""The service user's part in making a container: find the image, lend its layers.

Runs in a child that is the service user for good. Nothing of the network is parsed here: records
are the writer's own, made when the image was verified.

    service → root   L  + kind of a layer's form and its descriptors (opened_layer.py), bottom first
                     I  + descriptor of the image's part of the environment: that was all
                     M  the image isn't in the store, or the user's right to it is unknown
                     E  + text: cannot be done
    root → service   K  the layer has been taken: an account may not have any number of descriptors
                     on their way (unix(7), ETOOMANYREFS)

Loaded on every node and step.
"""

from hpcbox import packets
from hpcbox.errors import ImageRemoved, RecordDamaged
from hpcbox.request import wire
from hpcbox.store import images


def serve(
    socket: packets.Socket,
    request_bytes: bytes,
    digest: str,
    *,
    store: str,
    uid: int,
    access_seconds: int,
    lease: tuple[str, str, int],
) -> None:
    """Answer root's one question.

    Args:
        socket: the connection to root.
        request_bytes: what the plugin sent.
        digest: hex digest of the image that was just pulled for this user, or "".
        store: the node store.
        uid: the job's user.
        access_seconds: how long a registry's yes is remembered.
        lease: job id, step id and pid of slurmstepd: whose layers they are until it ends.
    """
    wanted = digest or wire.read(request_bytes).digest.removeprefix("sha256:")
    job, step, owner = lease
    try:
        record = images.read_record(store, wanted) if wanted else None
        if record is not None and images.access_is_fresh(store, uid, wanted, access_seconds):
            images.take_lease(store, job, step, owner, record)
        else:
            record = None
    except (ImageRemoved, RecordDamaged):
        # A pull makes it anew.
        record = None
    if record is None:
        packets.send(socket, b"M")
        return
    for name in record.layers:
        form = images.open_layer(store, record, name)
        packets.send(socket, b"L", form.kind, tuple(form.descriptors))
        form.close()
        if packets.receive(socket) is None:
            return
    image_part = packets.write_strings([record.workdir, record.digest, *record.env])
    packets.send(socket, b"I", b"", (image_part,))

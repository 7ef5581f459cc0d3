"""The writer of a node's store: the service user's part of a pull in site mode.

It has the store and no network; the bytes come from a process of the job's user through a relay.
"""

from hpcbox import packets
from hpcbox.errors import HpcboxError
from hpcbox.image.relay_source import RelaySource
from hpcbox.store.pull import Limits, pull
from hpcbox.store.sink import LayerSink


def write(connection: packets.Socket, store: str, uid: int, sink: LayerSink, limits: Limits) -> str:
    """Bring the image that the other process names into the store; return `sha256:HEX`.

    Afterwards the user `uid` has access to it. Whatever the outcome, the other process is told.

    Raises:
        HpcboxError: the image can't be had, is not what it promises, or the store can't take it.
    """
    source = RelaySource(connection)
    try:
        record = pull(source, store, sink, limits, source.tell_progress, grant_to=uid)
    except HpcboxError as error:
        source.tell_error(error)
        raise
    else:
        source.tell_done(record.digest)
        return record.digest
    finally:
        source.close()

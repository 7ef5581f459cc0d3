"""Bytes on their way out through a pipe or socket whose reader may be slow; nothing here waits.

Loaded on nodes: standard library only.
"""

import os

from hpcbox.ranks.poller import WRITE, Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Outbox:
    """Writes in the order of `send`, whenever the descriptor takes something.

    Args:
        descriptor: made non-blocking here.
        poller: the event loop.
        gone: called once when the reader has gone; what is sent then is dropped.
    """

    def __init__(self, descriptor: int, poller: Poller, gone: "Callable[[], None]") -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._poller = poller
        self._gone = gone
        self._pending = bytearray()
        self._open = True

    @property
    def pending_bytes(self) -> int:
        """Bytes that the reader hasn't taken."""
        return len(self._pending)

    def send(self, block: bytes) -> None:
        """Write a block, or keep it until there is room."""
        if not self._open:
            return
        waits = bool(self._pending)
        self._pending += block
        if not waits:
            self._write()
            if self._pending:
                self._poller.watch(self._descriptor, lambda _events: self._go_on(), WRITE)

    def close(self) -> None:
        """Drop what is pending and close the descriptor."""
        if self._open:
            self._open = False
            self._pending.clear()
            self._poller.close_watched(self._descriptor)

    def _go_on(self) -> None:
        self._write()
        if not self._pending:
            self._poller.forget(self._descriptor)

    def _write(self) -> None:
        try:
            while self._pending:
                written = os.write(self._descriptor, self._pending)
                del self._pending[:written]
        except BlockingIOError:
            return
        except OSError:
            self._open = False
            self._pending.clear()
            self._poller.forget(self._descriptor)
            self._gone()

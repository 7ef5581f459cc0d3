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
        took: called with the number of bytes that the reader's side has taken.
    """

    def __init__(
        self,
        descriptor: int,
        poller: Poller,
        gone: "Callable[[], None]",
        took: "Callable[[int], None] | None" = None,
    ) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._poller = poller
        self._gone = gone
        self._took = took
        self._pending = bytearray()
        self._open = True
        self._ending = False

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

    def end(self) -> None:
        """Close the descriptor when everything is written."""
        self._ending = True
        if self._open and not self._pending:
            self.close()

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
            if self._ending:
                self.close()

    def _write(self) -> None:
        try:
            while self._pending:
                written = os.write(self._descriptor, self._pending)
                del self._pending[:written]
                if self._took is not None:
                    self._took(written)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            self._gone()

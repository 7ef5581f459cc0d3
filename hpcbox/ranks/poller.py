"""One thread's event loop: descriptors, deadlines, and nothing more (epoll(7)).

The node agent and a step's spool run in it; both have a start-up budget, so asyncio and selectors
stay out.
"""

import heapq
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
# Always reported, asked for or not.
GONE = select.EPOLLHUP | select.EPOLLERR


class Poller:
    """Calls back when a descriptor is ready or a time has come; close it when done."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], object]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    def watch(
        self, descriptor: int, callback: "Callable[[int], object]", events: int = READ
    ) -> None:
        """Call `callback(events)` whenever the descriptor is ready (level-triggered).

        Raises:
            PermissionError: it is a regular file, which is always ready.
        """
        self._epoll.register(descriptor, events)
        self._callbacks[descriptor] = callback

    def change(self, descriptor: int, events: int) -> None:
        """Watch a descriptor for other events; 0 leaves hang-ups and errors alone."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor, which is still open; unknown ones are ignored."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close_watched(self, descriptor: int) -> None:
        """Stop watching a descriptor and close it."""
        self.forget(descriptor)
        os.close(descriptor)

    def call_later(self, seconds: float, callback: "Callable[[], None]") -> None:
        """Call once, `seconds` from now (monotonic time)."""
        self._sequence += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._sequence, callback))

    def turn(self) -> None:
        """Wait for the next descriptor or time, and call everything that is due."""
        wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1
        for descriptor, events in self._epoll.poll(wait):
            # An earlier callback of this turn may have closed it.
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback(events)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        """Give the kernel's part back; watched descriptors stay open."""
        self._epoll.close()

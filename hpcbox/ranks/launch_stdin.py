"""The launcher's stdin on its way to the rank that reads it, as far as that takes more."""

import asyncio
import os
import threading
from collections.abc import Callable

from hpcbox.ranks import frames

_BLOCK_BYTES = 64 * 1024


class StdinReader:
    """Reads this process's stdin in a thread: it may be a terminal, a pipe or a file.

    Args:
        send: called in the event loop with each block, at the end with an empty one.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._room = frames.WINDOW
        self._has_room = threading.Condition()
        # Ends with the process: a read from a terminal can't be called off.
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def make_room(self, count: int) -> None:
        """Let so many more bytes go."""
        with self._has_room:
            self._room += count
            self._has_room.notify()

    def _read(self) -> None:
        while True:
            with self._has_room:
                while self._room <= 0:
                    self._has_room.wait()
                size = min(self._room, _BLOCK_BYTES)
            try:
                block = os.read(0, size)
            except OSError:
                # Closed, or a terminal that belongs to somebody else now.
                block = b""
            with self._has_room:
                self._room -= len(block)
            try:
                self._loop.call_soon_threadsafe(self._send, block)
            except RuntimeError:
                return  # the launch is over
            if not block:
                return

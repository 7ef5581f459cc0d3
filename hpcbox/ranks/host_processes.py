"""The agent's end of the keeper: processes on the node itself, started and watched.

The same few functions as a container has (container/user_mode.py), so that ranks can be in either.
Loaded on nodes: standard library only.
"""

import os
import struct

from hpcbox import packets
from hpcbox.container.init_messages import Event, Exited, NotStarted, Started
from hpcbox.ranks import keeper

__all__ = ["Event", "Exited", "HostProcesses", "NotStarted", "Started"]

_REPORT = struct.Struct("=II")


class HostProcesses:
    """Processes below this node's keeper."""

    def __init__(self, node: str) -> None:
        self._socket = keeper.fork(node)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `receive` has something."""
        return self._socket.fileno()

    def spawn(
        self,
        key: int,
        argv: list[str],
        environment: dict[str, str],
        cwd: str,
        stdio: tuple[int, int, int],
    ) -> None:
        """Start a program; `key` names it from now on, and the answer comes by `receive`."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        strings = packets.write_strings([cwd, str(len(argv)), *argv, *variables])
        try:
            packets.send(self._socket, b"S", keeper.KEY.pack(key), (strings, *stdio))
        finally:
            os.close(strings)

    def receive(self) -> Event | None:
        """Return what happened next; waits for it. None: the keeper has gone."""
        packet = packets.receive(self._socket)
        if packet is None:
            return None
        key, number = _REPORT.unpack_from(packet.payload)
        if packet.kind == b"S":
            return Started(key, number)
        if packet.kind == b"X":
            return Exited(key, number)
        return NotStarted(key, number, packet.payload[_REPORT.size :].decode())

    def signal(self, key: int, number: int) -> None:
        """Send a signal to a process and its group."""
        packets.send(self._socket, b"K", keeper.KEY_AND_NUMBER.pack(key, number))

    def tick(self) -> None:
        """Give the keeper a sign of life; see keeper.py."""
        packets.send(self._socket, b"T")

    def close(self) -> None:
        """End all of them, and the keeper; returns when that is done."""
        # The keeper reads the end of the connection, and exits when nothing is left.
        self._socket.shutdown(1)
        while packets.receive(self._socket) is not None:
            pass
        self._socket.close()

"""An agent on this machine, over pipes: launching without ssh and without Slurm."""

import asyncio
import subprocess
from collections.abc import Callable, Coroutine
from typing import cast

from hpcbox.errors import AgentFailed
from hpcbox.ranks import agent_command
from hpcbox.ranks.link import Link

StartAgent = Callable[[Link], Coroutine[None, None, None]]
_LOOPBACK = "127.0.0.1"


class _Pipes(asyncio.SubprocessProtocol):
    """The agent's stdout and stderr, and its end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._link.take_output(data)
        else:
            self._link.take_errors(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        code = self._transport.get_returncode() if self._transport is not None else None
        if code is not None and code < 0:
            self._link.ended(f"it was killed by signal {-code}")
        else:
            self._link.ended(f"it ended with exit code {code}")


class _Stdin:
    """The way to the agent's stdin."""

    def __init__(self, stdin: asyncio.WriteTransport) -> None:
        self._stdin = stdin

    def write(self, block: bytes) -> None:
        if not self._stdin.is_closing():
            self._stdin.write(block)

    def close(self) -> None:
        self._stdin.close()


async def start_agent(link: Link) -> None:
    """Start an agent here and attach it to the link.

    Raises:
        AgentFailed: it can't be started.
    """
    loop = asyncio.get_running_loop()
    try:
        process, _protocol = await loop.subprocess_exec(
            lambda: _Pipes(link),
            *agent_command.words(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A terminal's Ctrl-C is the launcher's to pass on.
            start_new_session=True,
        )
    except OSError as error:
        raise AgentFailed(f"cannot start the agent: {error.strerror}") from error
    link.address = _LOOPBACK
    stdin = cast("asyncio.WriteTransport", process.get_pipe_transport(0))
    link.attach(_Stdin(stdin))

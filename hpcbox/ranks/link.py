"""The launcher's end of one agent: its bytes to frames, frames to bytes, and when it was heard.

How the bytes travel is a transport's business (connections.py, local.py).
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import hpcbox
from hpcbox.errors import AgentFailed, HpcboxError, RankLost, shorten
from hpcbox.ranks import frames
from hpcbox.ranks.frames import Frame

_STDERR_BYTES = 4000


class Transport(Protocol):
    """A way to an agent's stdin, and to its end."""

    def write(self, block: bytes) -> None:
        """Send bytes to the agent; never waits."""

    def close(self) -> None:
        """End the agent's stdin and let go of it."""


class Link:
    """One agent.

    Attributes:
        node: its node's name.
        address: the node's address as this machine sees it, "" if it has none.

    Args:
        node: its node's name.
        receive: called with each frame; what it raises ends the link.
        lost: called once, when the agent has gone or broken the protocol.
    """

    def __init__(
        self,
        node: str,
        receive: Callable[[Frame], None],
        lost: Callable[[HpcboxError], None],
    ) -> None:
        self.node = node
        self.address = ""
        self._receive = receive
        self._lost = lost
        self._transport: Transport | None = None
        self._noise: bytes | None = b""
        self._stderr = b""
        self._parser = frames.Parser()
        self._greeted = False
        self._is_over = False
        self.heard_at = time.monotonic()

    def attach(self, transport: Transport) -> None:
        """Take the way to the agent, and greet it."""
        self._transport = transport
        self.heard_at = time.monotonic()
        self.send(frames.HELLO, frames.VERSION, hpcbox.__version__, "")

    def send(self, kind: int, *values: Any) -> None:
        """Send a frame; nothing happens when the agent has gone."""
        if self._transport is not None and not self._is_over:
            self._transport.write(frames.encode(kind, *values))

    def close(self) -> None:
        """End the agent, if it is still there, and hear nothing of it any more."""
        self._is_over = True
        if self._transport is not None:
            self._transport.close()

    def silent_seconds(self) -> float:
        """Return for how long nothing was heard."""
        return time.monotonic() - self.heard_at

    def give_up(self, error: HpcboxError) -> None:
        """Count the agent as gone."""
        if not self._is_over:
            self.close()
            self._lost(error)

    def take_output(self, block: bytes) -> None:
        """Take bytes of the agent's stdout."""
        if self._is_over:
            return
        self.heard_at = time.monotonic()
        try:
            if self._noise is not None:
                block = self._skip_noise(self._noise + block)
            for frame in self._parser.feed(block):
                self._take(frame)
        except HpcboxError as error:
            self.give_up(error)

    def take_errors(self, block: bytes) -> None:
        """Take bytes of the agent's stderr, which is for people."""
        self._stderr = (self._stderr + block)[-_STDERR_BYTES:]

    def ended(self, how: str) -> None:
        """Take note that the agent's process or its connection has ended."""
        words = self._last_words()
        if self._greeted:
            self.give_up(RankLost(f"node {self.node}: the agent is gone: {how}{words}"))
        else:
            self.give_up(
                AgentFailed(
                    f"node {self.node}: no agent answered: {how}{words}",
                    hint="hpcbox must be installed there as here, and ssh must run commands",
                )
            )

    def _take(self, frame: Frame) -> None:
        if frame.kind == frames.HELLO:
            self._check(*frame.values)
        elif not self._greeted:
            raise AgentFailed(f"node {self.node}: the agent spoke before it greeted")
        if frame.kind not in (frames.HELLO, frames.PING) and not self._is_over:
            self._receive(frame)

    def _check(self, version: int, release: str, _name: str) -> None:
        if version != frames.VERSION or release != hpcbox.__version__:
            raise AgentFailed(
                f"node {self.node} has hpcbox {shorten(release, 40)}, this is {hpcbox.__version__}",
                hint="install one version on all nodes",
            )
        self._greeted = True

    def _skip_noise(self, block: bytes) -> bytes:
        """Pass over what a login shell prints; return what follows the marker."""
        before, marker, rest = block.partition(frames.MARKER)
        if not marker:
            if len(before) > frames.MAX_NOISE:
                raise AgentFailed(
                    f"node {self.node}: the login shell prints without end",
                    hint="look at its start-up files there",
                )
            self._noise = before
            return b""
        self._noise = None
        return rest

    def _last_words(self) -> str:
        """Return the last line that it said outside of frames, as `: WORDS`."""
        said = self._stderr.strip() or (self._noise or b"").strip()
        line = said.rpartition(b"\n")[2].decode("utf-8", "replace")
        return f": {shorten(line)}" if line else ""

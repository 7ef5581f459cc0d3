"""The node agent: one a node and launch, started over ssh, gone with its connection.

    launcher ⇄ frames over stdin and stdout ⇄ agent ─► keeper ─► pull, ranks on the host
                                                └────► container's init ─► ranks, hydra's proxy

It makes the container, starts this node's ranks, spools what they write and sends it on. It ends
all of them when the launcher says so, when its stdin ends, when the launcher is silent for
SILENCE_SECONDS, and on SIGTERM or SIGHUP; what happens when it is killed or stopped, keeper.py and
container/user_init.py see to.

Started as `PYTHON -I -S -c BOOT PREFIX`; start-up is a budget: standard library only, without
dataclasses, enum, pathlib, logging, tomllib, asyncio, typing and json.
"""

import os
import time

import hpcbox
from hpcbox.errors import AgentFailed, HpcboxError, one_line
from hpcbox.ranks import descendants, frames, order, signals
from hpcbox.ranks.forwarding import Forwarder
from hpcbox.ranks.host_processes import HostProcesses
from hpcbox.ranks.node_place import NodePlace
from hpcbox.ranks.outbox import Outbox
from hpcbox.ranks.poller import Poller

_READ_BYTES = 256 * 1024
# How long ranks have for SIGTERM when the launcher has gone.
_GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.02
_SINGLETON_LOOKS_SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hpcbox.container.init_messages import Event
    from hpcbox.ranks.frames import Frame
    from hpcbox.ranks.node_ranks import NodeRanks


class Agent:
    """One conversation with a launcher."""

    def __init__(self) -> None:
        node = os.uname().nodename.partition(".")[0]
        self._host = HostProcesses(node)
        self._poller = Poller()
        self._outbox = Outbox(1, self._poller, self._launcher_gone)
        self._parser = frames.Parser()
        self._forwarder: Forwarder | None = None
        self._place = NodePlace(self._host, self._poller, self._outbox)
        self._ranks: NodeRanks | None = None
        self._heard_at = time.monotonic()
        self._is_over = False
        self._leaves = False

    def run(self) -> None:
        """Talk to the launcher until one of the two ends."""
        os.set_blocking(0, False)
        self._poller.watch(0, lambda _events: self._hear())
        self._watch_signals()
        self._outbox.send(frames.MARKER)
        node = os.uname().nodename.partition(".")[0]
        self._outbox.send(frames.encode(frames.HELLO, frames.VERSION, hpcbox.__version__, node))
        self._beat()
        while not self._is_over:
            self._poller.turn()
        self._place.close()
        self._host.close()
        descendants.end_all()

    def _watch_signals(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def leave(number: int, _frame: object) -> None:
            self._say_problem(f"the agent got signal {number}")
            self._leave()

        for number in (signals.SIGTERM, signals.SIGHUP):
            signals.handle(number, leave)
        # The launcher passes Ctrl-C on as it sees fit.
        signals.ignore(signals.SIGINT)
        signals.wake_by(writer)
        self._poller.watch(reader, lambda _events: _drain(reader))

    def _beat(self) -> None:
        """Give signs of life to launcher and keeper, and miss the launcher's."""
        if time.monotonic() - self._heard_at > frames.SILENCE_SECONDS:
            # Its grace has passed while it was silent, and so will the connection's server wait
            # for ever: nothing may be left here.
            self._is_over = True
            _end_connection()
            return
        self._outbox.send(frames.encode(frames.PING))
        try:
            self._host.tick()
        except OSError:
            self._fail("the agent's keeper was killed")
        self._poller.call_later(frames.HEARTBEAT_SECONDS / 2, self._beat)

    def _hear(self) -> None:
        try:
            block = os.read(0, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            block = b""
        if not block:
            self._launcher_gone()
            return
        self._heard_at = time.monotonic()
        try:
            for frame in self._parser.feed(block):
                self._obey(frame)
        except HpcboxError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{error.filename or 'a system call'}: {error.strerror}")

    def _obey(self, frame: "Frame") -> None:
        kind, values = frame.kind, frame.values
        if kind == frames.HELLO:
            self._check_version(*values[:2])
        elif kind == frames.ORDER:
            self._take_order(order.read(values[0]))
        elif kind == frames.START:
            self._start(values[0])
        elif kind == frames.FINISH:
            self._finish()
        elif kind == frames.CREDIT and self._forwarder is not None:
            self._forwarder.grant(values[0])
        elif self._ranks is not None:
            self._obey_about_ranks(self._ranks, kind, values)

    def _obey_about_ranks(
        self, ranks: "NodeRanks", kind: int, values: "tuple[int | bytes | list[str], ...]"
    ) -> None:
        match kind, values:
            case frames.PROXY, (int(number), list(words)):
                ranks.start_proxy(number, words)
            case frames.SIGNAL, (int(number),):
                ranks.signal(number)
            case frames.END, (int(milliseconds),):
                self._end(milliseconds / 1000)
            case frames.STDIN, (bytes(block),):
                ranks.feed(block)

    def _check_version(self, version: int, release: str) -> None:
        if version != frames.VERSION or release != hpcbox.__version__:
            raise AgentFailed(
                f"the launcher is hpcbox {release}, this node has {hpcbox.__version__}",
                hint="install one version on all nodes",
            )

    def _take_order(self, given: order.Order) -> None:
        self._forwarder = Forwarder(self._outbox, is_wanted=bool(given.forward))
        self._place.prepare(given, self._forwarder, self._take_event)

    def _start(self, words: list[str]) -> None:
        """Start the ranks; words are the way, the first node's address and mpiexec's words."""
        if len(words) < 2:
            raise AgentFailed("the launcher's start is too short")
        way, address, *mpiexec = words
        ranks = self._ranks = self._place.ranks(way, address)
        if way not in ("hydra", "merged"):
            ranks.start()
            if way == "none":
                self._look_for_singletons(iter(_SINGLETON_LOOKS_SECONDS))
        elif mpiexec:
            ranks.start_mpiexec(mpiexec)

    def _look_for_singletons(self, pauses: "Iterator[float]") -> None:
        """Look a few times whether a script has loaded an MPI whose ranks can't meet."""
        text = self._place.singletons()
        if text is not None:
            self._fail(text)
            return
        for seconds in pauses:
            self._poller.call_later(seconds, lambda: self._look_for_singletons(pauses))
            return

    def _take_event(self, event: "Event | None") -> None:
        if event is None:
            if not self._leaves:
                self._fail("the container's first process was killed")
        elif self._ranks is not None:
            self._ranks.take(event)

    def _end(self, seconds: float) -> None:
        """Ask the ranks to end, and end them after so many seconds."""
        if self._ranks is not None:
            self._ranks.signal(signals.SIGTERM)
        self._poller.call_later(seconds, self._kill)

    def _kill(self) -> None:
        self._place.kill()
        if self._ranks is not None:
            self._ranks.killed()

    def _launcher_gone(self) -> None:
        if not self._leaves:
            self._leave()

    def _leave(self) -> None:
        """End the ranks, gently first, and then this process."""
        self._leaves = True
        self._poller.forget(0)
        if self._ranks is None or self._ranks.is_over:
            self._is_over = True
            return
        self._end(_GRACE_SECONDS)
        self._leave_when_over()

    def _leave_when_over(self) -> None:
        if self._ranks is None or self._ranks.is_over:
            self._is_over = True
        else:
            self._poller.call_later(_LOOK_SECONDS, self._leave_when_over)

    def _finish(self) -> None:
        """Close the place, send what it still said, and say goodbye."""
        self._leaves = True
        self._kill()
        self._place.wait_for_output(self._say_goodbye)

    def _say_goodbye(self) -> None:
        self._place.record_end()
        self._outbox.send(frames.encode(frames.GONE))
        self._leave_when_sent()

    def _leave_when_sent(self) -> None:
        if not self._outbox.pending_bytes:
            self._is_over = True
        else:
            self._poller.call_later(_LOOK_SECONDS, self._leave_when_sent)

    def _say_problem(self, text: str) -> None:
        self._outbox.send(frames.encode(frames.PROBLEM, one_line(text)))

    def _fail(self, text: str) -> None:
        self._place.record_failure(text)
        self._outbox.send(frames.encode(frames.FAILED, one_line(text)))
        self._leave()


def _drain(reader: int) -> None:
    os.read(reader, 4096)


def _end_connection() -> None:
    """End the ssh server's process for this connection, whose other end has gone.

    TCP would keep it for a quarter of an hour. It belongs to the user, as this process does.
    """
    pid = os.getppid()
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            is_server = file.read().startswith("sshd")
        if is_server and os.stat(f"/proc/{pid}").st_uid == os.geteuid():
            os.kill(pid, signals.SIGTERM)
    except OSError:
        return


def main() -> None:
    """Be the agent of this node."""
    status = 1
    try:
        Agent().run()
        status = 0
    except Exception as error:  # noqa: BLE001 - the process's end: whatever it is must be told
        text = one_line(f"a defect in the agent: {type(error).__name__}: {error}\n")
        os.write(2, text.encode("utf-8", "replace"))
    finally:
        # The keeper, and the container's, end what this process has started.
        os._exit(status)

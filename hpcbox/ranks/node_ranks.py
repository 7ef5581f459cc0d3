"""The ranks of one node: started by the agent itself or by hydra's proxy, watched to their ends.

`place` is where they run: a container or the node itself. Whatever happens to a rank goes to the
launcher as a frame and into the node's events. Loaded on nodes: standard library only.
"""

import os

from hpcbox.container.init_messages import Exited, NotStarted, Started
from hpcbox.ranks import frames, layout, rank_environment
from hpcbox.ranks.hydra_node import HydraRanks
from hpcbox.ranks.outbox import Outbox

# Names of what isn't a rank, among the processes of a place.
MPIEXEC = 2**30
FIRST_PROXY = 2**30 + 16
_KILLED = 128 + 9
_LAST_LINES, _LAST_BYTES = 5, 2000
_MAX_PENDING = 4 * 2**20
_PAUSE_SECONDS = 0.05

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcbox.container.init_messages import Event
    from hpcbox.container.user_mode import UserContainer
    from hpcbox.ranks.forwarding import Forwarder
    from hpcbox.ranks.host_processes import HostProcesses
    from hpcbox.ranks.order import Order
    from hpcbox.ranks.poller import Poller
    from hpcbox.ranks.spool import Spool

    Place = UserContainer | HostProcesses


class NodeRanks:
    """All ranks of this node.

    Args:
        order: this node's part of the launch.
        place: where they run.
        environment: variables of every process that is started there.
        cwd: where they start.
        poller, outbox, spool, forwarder: the agent's.
    """

    def __init__(
        self,
        order: "Order",
        place: "Place",
        environment: dict[str, str],
        cwd: str,
        *,
        poller: "Poller",
        outbox: Outbox,
        spool: "Spool",
        forwarder: "Forwarder",
    ) -> None:
        self._order = order
        self._place = place
        self._environment = environment
        self._cwd = cwd
        self._poller = poller
        self._outbox = outbox
        self._spool = spool
        self._forwarder = forwarder
        self._hydra: HydraRanks | None = None
        self._running: set[int] = set()
        self._launchers: set[int] = set()
        self._stdin: Outbox | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing that was started runs any more."""
        return not self._running and not self._launchers

    def start(self) -> None:
        """Start the ranks directly."""
        for rank in self._order.ranks:
            stdin = self._stdin_end() if rank == self._order.reader else _null()
            ends = []
            for stream in layout.SUFFIXES:
                reader, writer = os.pipe2(os.O_CLOEXEC)
                self._spool.add(rank, stream, reader)
                ends.append(writer)
            variables = rank_environment.rank_variables(self._order, rank)
            self._running.add(rank)
            self._place.spawn(
                rank,
                self._order.command,
                {**self._environment, **variables},
                self._cwd,
                (stdin, ends[0], ends[1]),
            )
            for descriptor in (stdin, *ends):
                os.close(descriptor)

    def prepare_hydra(self, folder: str, inside: str) -> None:
        """Make ready for ranks that a proxy will start; see hydra_node.py.

        Raises:
            OSError: the folder doesn't take the FIFOs.
        """
        self._hydra = HydraRanks(self._order, folder, inside, self._poller)
        self._hydra.prepare(self._spool, self._started, self._exited, self._shell_ended)
        self._running.update(self._order.ranks)

    def start_mpiexec(self, words: list[str]) -> None:
        """Start mpiexec.hydra; the ranks' command is added to its words."""
        command = self._order.command if self._hydra is None else self._hydra.command()
        self._start_launcher(MPIEXEC, [*words, *command], self._stdin_end())

    def start_proxy(self, number: int, words: list[str]) -> None:
        """Start one of hydra's proxies."""
        self._start_launcher(FIRST_PROXY + number, words, _null())

    def feed(self, block: bytes) -> None:
        """Give bytes to whoever reads the launcher's stdin; none: its end."""
        if self._stdin is None:
            return
        if block:
            self._stdin.send(block)
        else:
            self._stdin.end()

    def take(self, event: "Event") -> None:
        """Note what happened to a process of the place."""
        if event.key >= MPIEXEC:
            self._take_launcher(event)
        elif isinstance(event, Started):
            self._started(event.key, event.pid)
        elif isinstance(event, Exited):
            self._exited(event.key, event.code)
        else:
            self._not_started(event)

    def signal(self, number: int) -> None:
        """Send a signal to every rank, by mpiexec where that has started them."""
        keys = self._launchers if self._hydra is not None or self._launchers else self._running
        for key in tuple(keys):
            self._place.signal(key, number)

    def killed(self) -> None:
        """Note that the place has ended with all that ran in it."""
        for rank in sorted(self._running):
            self._exited(rank, _KILLED)
        self._launchers.clear()
        self.close()

    def close(self) -> None:
        """Let go of FIFOs and of stdin."""
        if self._hydra is not None:
            self._hydra.close()
        if self._stdin is not None:
            self._stdin.close()

    def _started(self, rank: int, pid: int) -> None:
        self._spool.event("rank", {"rank": rank, "state": "started", "pid": pid})
        self._outbox.send(frames.encode(frames.STARTED, rank, pid))

    def _exited(self, rank: int, code: int) -> None:
        if rank not in self._running:
            return
        self._end(rank)
        fields: dict[str, str | int] = {"rank": rank, "state": "exited", "code": code}
        if code > 128:
            fields["signal"] = code - 128
        self._spool.event("rank", fields)
        words = self._last_lines(rank) if code else ""
        self._outbox.send(frames.encode(frames.EXITED, rank, code, words))
        self._forwarder.ended(rank)

    def _end(self, rank: int) -> None:
        self._running.discard(rank)
        self._spool.end(rank)
        if self._hydra is not None:
            self._hydra.ended(rank)

    def _shell_ended(self, rank: int) -> None:
        # It tells its rank's end before its own.
        if self._hydra is not None:
            self._hydra.read_reports(self._started, self._exited)
        if rank in self._running:
            self._lost(rank)

    def _lost(self, rank: int) -> None:
        self._end(rank)
        self._spool.event("rank", {"rank": rank, "state": "lost"})
        self._outbox.send(frames.encode(frames.LOST, rank))
        self._forwarder.ended(rank)

    def _not_started(self, event: NotStarted) -> None:
        self._end(event.key)
        self._spool.event("rank", {"rank": event.key, "state": "exited", "code": event.code})
        self._outbox.send(frames.encode(frames.REFUSED, event.key, event.code, event.text))
        self._forwarder.ended(event.key)

    def _last_lines(self, rank: int) -> str:
        """Return the end of what a rank wrote to stderr, or else to stdout."""
        for stream in (layout.ERR, layout.OUT):
            length = self._spool.length(rank, stream)
            reader = self._spool.reader(rank, stream)
            if length and reader >= 0:
                start = max(0, length - _LAST_BYTES)
                text = os.pread(reader, length - start, start).decode("utf-8", "replace")
                return "\n".join(text.rstrip("\n").split("\n")[-_LAST_LINES:])
        return ""

    def _start_launcher(self, key: int, words: list[str], stdin: int) -> None:
        ends = []
        for stream in layout.SUFFIXES:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            self._poller.watch(reader, self._pass_on(key, stream, reader))
            ends.append(writer)
        self._launchers.add(key)
        self._place.spawn(key, words, self._environment, self._cwd, (stdin, ends[0], ends[1]))
        for descriptor in (stdin, *ends):
            os.close(descriptor)

    def _pass_on(self, key: int, stream: int, reader: int) -> "Callable[[int], None]":
        """Return the callback that sends what mpiexec or a proxy prints."""

        def ready(_events: int) -> None:
            if self._outbox.pending_bytes > _MAX_PENDING:
                self._poller.forget(reader)
                self._poller.call_later(_PAUSE_SECONDS, lambda: self._poller.watch(reader, ready))
                return
            block = os.read(reader, frames.MAX_BLOCK)
            if block:
                self._outbox.send(frames.encode(frames.LAUNCHER, key, stream, block))
            else:
                self._poller.close_watched(reader)

        return ready

    def _take_launcher(self, event: "Event") -> None:
        if isinstance(event, Started):
            return
        self._launchers.discard(event.key)
        if self._hydra is not None:
            self._hydra.read_reports(self._started, self._exited)
        if isinstance(event, NotStarted):
            self._outbox.send(frames.encode(frames.REFUSED, event.key, event.code, event.text))
        else:
            self._outbox.send(frames.encode(frames.LAUNCHER_EXITED, event.key, event.code))
        if not self._launchers:
            # Hydra kills wrappers with their ranks: nobody is left to tell these ends.
            for rank in sorted(self._running):
                self._lost(rank)

    def _stdin_end(self) -> int:
        """Return the end to read of a pipe that `feed` fills."""
        if self._order.reader not in self._order.ranks:
            return _null()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self._stdin = Outbox(writer, self._poller, lambda: None, self._make_room)
        return reader

    def _make_room(self, count: int) -> None:
        self._outbox.send(frames.encode(frames.ROOM, count))


def _null() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

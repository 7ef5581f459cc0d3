"""What the launcher knows while a launch runs: it changes with every frame of an agent.

Nothing here waits but `until`. The course of a launch is launch.py's.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from hpcbox.errors import AgentFailed, HpcboxError, LaunchRefused
from hpcbox.image.progress import size_text
from hpcbox.ranks import frames, hydra, layout
from hpcbox.ranks.delivery import Delivery
from hpcbox.ranks.frames import Frame
from hpcbox.ranks.link import Link
from hpcbox.ranks.node_ranks import FIRST_PROXY, MPIEXEC
from hpcbox.ranks.placement import Share
from hpcbox.ranks.rank_book import Failure, RankBook, describe

# A rank and mpiexec tell an end over two connections: the rank's own word counts.
_RANKS_WORD_SECONDS = 0.3
# And a lost rank is explained by mpiexec: MPI_Abort kills all.
_MPIEXECS_WORD_SECONDS = 1.0
_PROGRESS_SECONDS = 3.0
_WORDS_BYTES = 2000


class Node:
    """One node of the launch, as far as the launcher knows it.

    Attributes:
        share: its ranks.
        link: its agent.
        ready: way, path of mpiexec and of the shell that it offers, once it is ready.
        is_gone: whether nothing is left there, or nobody is left to ask.
        pulled: bytes of the image that it has, and that there are.
    """

    def __init__(self, share: Share, state: "LaunchState") -> None:
        self.share = share
        self.link = Link(share.node, partial(state.take, self), partial(state.lose, self))
        self.ready: tuple[str, str, str] | None = None
        self.is_gone = False
        self.pulled = (0, 0)


class LaunchState:
    """All nodes and ranks of a launch.

    Attributes:
        nodes: in the launch's order.
        book: the ranks.
        has_started: whether ranks may run.
        mpiexec_runs: whether hydra's mpiexec does.
        proxies_run: numbers of its proxies that do.
        stdin_room: called with a number of bytes when the reading rank's side takes more.
    """

    def __init__(self, shares: tuple[Share, ...], delivery: Delivery) -> None:
        self.nodes = [Node(share, self) for share in shares]
        self.book = RankBook(shares)
        self.has_started = False
        self.stdin_room: Callable[[int], None] = lambda _count: None
        self._delivery = delivery
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._lines = hydra.LaunchLines(len(shares))
        self.mpiexec_runs = False
        self.proxies_run: set[int] = set()
        self._is_merged = False
        self._mpiexec_words = b""
        self._pending_failures = 0
        self._when_started: dict[int, Callable[[Node], None]] = {}
        self._told_at = self._loop.time()
        self._error: HpcboxError | None = None

    @property
    def is_over(self) -> bool:
        """Whether all ranks have ended, and all they wrote has come."""
        running = self.book.running or self.book.open or self.mpiexec_runs
        return not (running or self._pending_failures)

    @property
    def has_all_output(self) -> bool:
        """Whether all that ranks wrote has come."""
        return not self.book.open

    @property
    def ranks_have_ended(self) -> bool:
        """Whether no rank runs, though mpiexec may."""
        running = self.book.running or (self._is_merged and self.mpiexec_runs)
        return not (running or self._pending_failures)

    async def until(self, holds: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until something is true, for at most so many seconds; return whether it is.

        Raises:
            HpcboxError: a node can't be used, which before the start ends the launch.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():
                    # It may have come while nobody waited here.
                    if self._error is not None and not self.has_started:
                        raise self._error
                    self._changed.clear()
                    await self._changed.wait()
        return holds()

    def change(self) -> None:
        """Let those who wait look again."""
        self._changed.set()

    def start(self, way: str, address: str, words: list[str]) -> None:
        """Start the ranks on all nodes; `words` are mpiexec's, none where it isn't used."""
        self.has_started = True
        self.mpiexec_runs = bool(words)
        if way == "merged":
            self._is_merged = True
            self.book.close_all()
        for node in self.nodes:
            own = words if node is self.nodes[0] else []
            node.link.send(frames.START, [way, address, *own])

    def call_when_started(self, rank: int, then: "Callable[[Node], None]") -> None:
        """Call with its node as soon as a rank runs."""
        self._when_started[rank] = then

    def send_to_all(self, kind: int, *values: int) -> None:
        """Send every agent the same."""
        for node in self.nodes:
            node.link.send(kind, *values)

    def lose(self, node: Node, error: HpcboxError) -> None:
        """Note that an agent has gone."""
        if not node.is_gone:
            node.is_gone = True
            self._error = self._error or error
            self.book.lose_node(node.share.node, error)
            if node is self.nodes[0]:
                self.mpiexec_runs = False
        self.change()

    def take(self, node: Node, frame: Frame) -> None:
        """Take a frame of an agent.

        Raises:
            LaunchRefused: mpiexec said what nobody knows.
        """
        match frame.kind, frame.values:
            case frames.OUTPUT, (rank, stream, _offset, block):
                self._deliver(node, rank, stream, block)
                return
            case frames.STATE, (_state, text, done, total):
                node.pulled = (done, total)
                self._tell_progress(text)
            case frames.READY, (way, mpiexec, shell):
                node.ready = (way, mpiexec, shell)
            case frames.FAILED, (text,):
                node.link.give_up(AgentFailed(f"node {node.share.node}: {text}"))
            case frames.PROBLEM, (text,):
                self._delivery.say(f"node {node.share.node}: {text}")
            case frames.ROOM, (count,):
                self.stdin_room(count)
            case frames.GONE, ():
                node.is_gone = True
            case _:
                self._take_about_ranks(node, frame)
        self.change()

    def _take_about_ranks(self, node: Node, frame: Frame) -> None:
        match frame.kind, frame.values:
            case frames.STARTED, (rank, _pid):
                self.book.start(rank)
                if rank in self._when_started:
                    self._when_started.pop(rank)(node)
            case frames.EXITED, (rank, code, last_lines):
                self.book.exit(rank, code, last_lines)
            case frames.CLOSED, (rank,):
                self.book.close(rank)
            case frames.LOST, (rank,):
                self._fail_later(_MPIEXECS_WORD_SECONDS, self.book.lose(rank))
            case frames.REFUSED, (key, code, text):
                self._refuse(node, key, code, text)
            case frames.LAUNCHER, (key, stream, block):
                self._take_launcher_output(key, stream, block)
            case frames.LAUNCHER_EXITED, (key, code):
                self._end_launcher(node, key, code)
            case _:
                raise AgentFailed(f"node {node.share.node}: its agent spoke out of turn")

    def _deliver(self, node: Node, rank: int, stream: int, block: bytes) -> None:
        if stream not in layout.SUFFIXES:
            raise AgentFailed(f"node {node.share.node}: its agent knows a stream {stream}")
        size = len(block)

        def release() -> None:
            node.link.send(frames.CREDIT, size)
            self.change()

        def written() -> None:
            # Of a launch that was interrupted the loop may be over.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(release)

        self._delivery.take(rank, node.share.node, stream, block, written)

    def _refuse(self, node: Node, key: int, code: int, text: str) -> None:
        if key >= MPIEXEC:
            self.mpiexec_runs = self.mpiexec_runs and key != MPIEXEC
            self.book.fail(Failure(code, f"node {node.share.node}: cannot start hydra: {text}"))
        else:
            self.book.refuse(key, code, text)

    def _take_launcher_output(self, key: int, stream: int, block: bytes) -> None:
        """Start the proxies that mpiexec asks for; the rest is for people, if need be."""
        if (key, stream) == (MPIEXEC, layout.OUT):
            try:
                proxies, block = self._lines.feed(block)
            except LaunchRefused as error:
                self.book.fail(Failure(error.exit_code, str(error)))
                return
            for proxy in proxies:
                self.proxies_run.add(proxy.number)
                self.nodes[proxy.number].link.send(frames.PROXY, proxy.number, proxy.words)
        if self._is_merged and key == MPIEXEC:
            self._delivery.take(0, self.nodes[0].share.node, stream, block, lambda: None)
        else:
            self._mpiexec_words = (self._mpiexec_words + block)[-_WORDS_BYTES:]

    def _end_launcher(self, node: Node, key: int, code: int) -> None:
        if key >= FIRST_PROXY and code > 128 and self.book.running:
            text = f"hydra's proxy on {node.share.node} {describe(code)}"
            self.book.fail(Failure(code, text))
        if key != MPIEXEC:
            self.proxies_run.discard(key - FIRST_PROXY)
            return
        self.mpiexec_runs = False
        if code:
            words = hydra.words_for_people(self._mpiexec_words)
            failure = Failure(code, f"mpiexec.hydra {describe(code)}", words)
            self._fail_later(_RANKS_WORD_SECONDS, failure)

    def _fail_later(self, seconds: float, failure: Failure) -> None:
        self._pending_failures += 1

        def fail() -> None:
            self._pending_failures -= 1
            # What hydra makes of ranks that have all ended well isn't theirs.
            if not self.book.have_all_succeeded:
                self.book.fail(failure)
            self.change()

        self._loop.call_later(seconds, fail)

    def _tell_progress(self, text: str) -> None:
        """Say now and then how far the nodes' pulls are together."""
        now = self._loop.time()
        if now - self._told_at >= _PROGRESS_SECONDS:
            self._told_at = now
            done = sum(node.pulled[0] for node in self.nodes)
            total = sum(node.pulled[1] for node in self.nodes)
            nodes = sum(1 for node in self.nodes if node.pulled[1])
            share = f": {size_text(done)} of {size_text(total)} on {nodes} nodes" if total else ""
            self._delivery.say(text + share)

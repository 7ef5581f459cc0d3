"""Launching ranks without srun: an agent a node, all ready, then all ranks, then nothing left.

`run` is the whole of it. What the agents say changes launch_state.py; the course of the launch,
here, waits for what it needs to be true. The first failure ends all ranks.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from hpcbox.errors import HpcboxError, LaunchRefused, RankLost, RegistryUnreachable, RequestError
from hpcbox.ranks import delivery, frames, hydra, local, order, placement
from hpcbox.ranks.launch_state import LaunchState, Node
from hpcbox.ranks.launch_stdin import StdinReader
from hpcbox.ranks.plan import LaunchPlan
from hpcbox.ranks.rank_book import Failure
from hpcbox.settings import Settings

# From a failure to the last process: well below 10 s, also after a node's silence of 6 s.
_GRACE_SECONDS = 2.0
_AFTER_INTERRUPT_SECONDS = 3.0
_FINISH_SECONDS = 4.0
_PROXIES_SECONDS = 3.0
_MPIEXEC_SECONDS = 0.5
_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def run(plan: LaunchPlan, settings: Settings) -> int:
    """Start the plan's ranks, show what they write, and return the launch's exit code.

    The code is that of the first rank that failed (128+signal for a signal), or 0.

    Raises:
        RequestError: ranks can't be placed, or a file pattern is wrong.
        LaunchRefused: the image or an option can't be launched this way.
        NodeUnreachable, AgentFailed: a node can't be used.
        ImageError: the image can't be had.
        KeyboardInterrupt: Ctrl-C before the ranks ran.
    """
    shares = placement.place(plan.nodes, plan.tasks, plan.tasks_per_node)
    if plan.input != "none" and not plan.input.isdigit():
        raise LaunchRefused(
            f"--input={plan.input} needs srun", hint="give a rank's number, or none"
        )
    return asyncio.run(_Launch(plan, settings, shares).run())


class _Launch:
    """The course of one launch.

    Attributes:
        signal_number: the signal that ends it, 0 while none has come.
        interrupts: how many times Ctrl-C was pressed.
    """

    def __init__(
        self, plan: LaunchPlan, settings: Settings, shares: tuple[placement.Share, ...]
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._shares = shares
        self._run_id = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        self._delivery = delivery.Delivery(plan)
        self._interrupts = 0
        self._ended_by = 0

    async def run(self) -> int:
        """Launch, watch, end; whatever happens, no agent is left."""
        self._state = state = LaunchState(self._shares, self._delivery)
        this = asyncio.current_task()
        with self._signals(this):
            heartbeat = asyncio.create_task(self._beat(), name="heartbeat")
            try:
                await self._prepare()
                self._start()
                await self._watch()
                await self._finish()
                self._tell_failure()
            except asyncio.CancelledError:
                if not self._ended_by:
                    raise
                if self._ended_by == signal.SIGINT:
                    raise KeyboardInterrupt from None
            finally:
                heartbeat.cancel()
                for node in state.nodes:
                    node.link.close()
                await asyncio.to_thread(self._delivery.finish, _FINISH_SECONDS)
        return self._exit_code()

    async def _prepare(self) -> None:
        """Connect to all nodes, tell each its part, and wait until all are ready."""
        digest = asyncio.create_task(self._resolved(), name="resolve")
        connect = self._connector()
        try:
            async with asyncio.TaskGroup() as group:
                for node in self._state.nodes:
                    group.create_task(self._enlist(node, connect, digest), name=node.share.node)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            digest.cancel()
        await self._state.until(lambda: all(node.ready for node in self._state.nodes))

    def _connector(self) -> local.StartAgent:
        """Return what starts an agent; asyncssh is loaded only when it is needed."""
        if self._plan.transport == "local":
            return local.start_agent
        from hpcbox.ranks.connections import Connections  # noqa: PLC0415

        return Connections().start_agent

    async def _enlist(
        self, node: Node, connect: local.StartAgent, digest: "asyncio.Task[str]"
    ) -> None:
        await connect(node.link)
        node.link.send(frames.ORDER, self._order(node.share, await asyncio.shield(digest)))
        if delivery.is_wanted(self._plan):
            node.link.send(frames.CREDIT, frames.WINDOW)

    async def _resolved(self) -> str:
        """Return the image's digest: all nodes are to use the same image."""
        plan = self._plan
        if plan.image is None or plan.digest:
            return plan.digest
        return await asyncio.to_thread(_resolve, plan.image, self._settings)

    def _order(self, share: placement.Share, digest: str) -> list[str]:
        plan = self._plan
        reader = int(plan.input) if plan.input.isdigit() else order.NO_READER
        texts = {
            "job": plan.job,
            "step": plan.step,
            "cluster": plan.cluster,
            "user": plan.user,
            "node": share.node,
            "transport": plan.transport,
            "cwd": plan.cwd,
            "submit_dir": os.getcwd(),
            "image": plan.image or "",
            "digest": digest,
            "mounts": plan.container.mounts,
            "workdir": plan.container.workdir,
            "env": plan.container.env,
            "mpi": plan.mpi,
            "store": self._settings.store,
            "run": self._run_id,
        }
        numbers = {
            "node_index": share.index,
            "first_rank": share.first,
            "count": share.count,
            "tasks": plan.tasks,
            "cpus_per_task": plan.cpus_per_task,
            "upper_bytes": self._settings.upper_bytes,
            "forward": int(delivery.is_wanted(plan)),
            "reader": reader,
        }
        lists = {
            "nodes": [item.node for item in self._shares],
            "counts": [str(item.count) for item in self._shares],
            "command": list(plan.command),
            "environment": [f"{name}={value}" for name, value in plan.environment.items()],
            "site_mounts": list(self._settings.mounts),
        }
        return order.write(texts, numbers, lists)

    def _start(self) -> None:
        first = self._state.nodes[0]
        way, mpiexec, shell = _way(self._plan, first)
        address = self._address()
        words: list[str] = []
        if way == "hydra":
            if self._plan.input not in ("0", "none"):
                raise LaunchRefused("hydra gives stdin to rank 0 only", hint="leave --input out")
            hosts = [(share.node, share.count) for share in self._shares]
            words = hydra.mpiexec_words(mpiexec, hosts, address, self._plan.tasks)
            if not shell:
                way = "merged"
                self._delivery.say(
                    "the image has no /bin/sh: the ranks' output comes merged, and isn't kept"
                )
        if self._plan.input != "none":
            # Hydra forgets an end of stdin that comes before its proxies do.
            self._state.call_when_started(int(self._plan.input), self._connect_stdin)
        self._state.start(way, address, words)

    def _address(self) -> str:
        """Return the first node's address as the others see it."""
        address = self._state.nodes[0].link.address
        others = [node.link.address for node in self._state.nodes[1:]]
        if others and address.startswith(("127.", "::1")):
            # The launcher runs there itself.
            return _own_address(others[0])
        return address

    def _connect_stdin(self, node: Node) -> None:
        reader = StdinReader(partial(node.link.send, frames.STDIN))
        self._state.stdin_room = reader.make_room

    async def _watch(self) -> None:
        """Wait for the ranks' end, and end them when something goes wrong."""
        state = self._state

        def is_decided() -> bool:
            failed = state.book.first_failure is not None
            return failed or state.ranks_have_ended or self._ended_by != 0

        if not await state.until(is_decided, self._plan.time_limit_seconds):
            text = f"the time limit of {self._plan.time_limit_seconds:g} s is over"
            state.book.fail(Failure(RankLost.exit_code, text))
        if self._ended_by == signal.SIGINT:
            # Programs that save their state on Ctrl-C have a moment for it.
            await state.until(
                lambda: state.ranks_have_ended or self._interrupts > 1, _AFTER_INTERRUPT_SECONDS
            )
        if not state.ranks_have_ended:
            seconds = 0 if self._interrupts > 1 else _GRACE_SECONDS
            state.send_to_all(frames.END, int(seconds * 1000))
            await state.until(
                lambda: state.ranks_have_ended or self._interrupts > 1, seconds + _GRACE_SECONDS
            )
        elif not state.is_over and state.book.first_failure is None:
            await state.until(lambda: not state.proxies_run, _PROXIES_SECONDS)
            # That of MPICH 4.0.2 never ends once it has passed stdin on, and nobody needs it now.
            await state.until(lambda: not state.mpiexec_runs, _MPIEXEC_SECONDS)
            # As long as somebody reads slowly this may take.
            await state.until(lambda: state.has_all_output or self._ended_by != 0)

    async def _finish(self) -> None:
        """Let the agents tidy up, take the last of the output, and see them go."""
        self._state.send_to_all(frames.FINISH)
        nodes = self._state.nodes
        await self._state.until(lambda: all(node.is_gone for node in nodes), _FINISH_SECONDS)
        # Whoever reads slowly gets the rest too, now that no node waits for it.
        await self._state.until(lambda: self._delivery.is_idle or self._ended_by != 0)

    async def _beat(self) -> None:
        """Give the agents signs of life, and miss theirs."""
        while True:
            await asyncio.sleep(frames.HEARTBEAT_SECONDS / 2)
            for node in self._state.nodes:
                node.link.send(frames.PING)
                if node.link.silent_seconds() > frames.SILENCE_SECONDS and not node.is_gone:
                    node.link.give_up(
                        RankLost(
                            f"node {node.share.node} doesn't answer any more",
                            hint="its network, or its agent, has stopped",
                        )
                    )

    @contextmanager
    def _signals(self, this: "asyncio.Task[int] | None") -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._take_signal, number, this)
        # A stopped launcher would be taken for dead, and its ranks ended; in the background its
        # terminal's input is at its end.
        stops = {number: signal.signal(number, signal.SIG_IGN) for number in _STOPS}
        try:
            yield
        finally:
            for number, before in stops.items():
                signal.signal(number, before)
            for number in numbers:
                loop.remove_signal_handler(number)

    def _take_signal(self, number: int, this: "asyncio.Task[int] | None") -> None:
        self._ended_by = self._ended_by or number
        if not self._state.has_started:
            if this is not None:
                this.cancel()
            return
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts == 1:
                self._delivery.say("ending the ranks — Ctrl-C again kills them at once")
                self._state.send_to_all(frames.SIGNAL, signal.SIGINT)
            else:
                self._state.send_to_all(frames.END, 0)
        self._state.change()

    def _tell_failure(self) -> None:
        failure = self._state.book.first_failure
        if failure is not None and not self._ended_by:
            for line in failure.lines():
                self._delivery.say(line)

    def _exit_code(self) -> int:
        if self._ended_by:
            return 128 + self._ended_by
        failure = self._state.book.first_failure
        return 0 if failure is None else failure.code


def _way(plan: LaunchPlan, first: Node) -> tuple[str, str, str]:
    """Return how ranks are to find each other, and the paths of mpiexec and of the shell.

    Raises:
        LaunchRefused: the image doesn't have it.
    """
    if first.ready is None:
        raise RequestError("the first node isn't ready")
    found, mpiexec, shell = first.ready
    if plan.mpi in ("env", "none"):
        return plan.mpi, "", shell
    image = f"the image {plan.image}" if plan.image else f"node {first.share.node}"
    if found == "openmpi":
        raise LaunchRefused(
            f"{image} has Open MPI, which can't be started over ssh yet",
            hint="use --launcher=srun --mpi=pmix; for programs without MPI, --mpi=env",
        )
    if plan.mpi == "hydra" and not mpiexec:
        raise LaunchRefused(
            f"{image} has no mpiexec.hydra in its PATH", hint="for programs without MPI, --mpi=env"
        )
    # One rank needs nobody to find, and an MPI of the MPICH family alone is a job of one.
    if mpiexec and (plan.mpi == "hydra" or plan.tasks > 1):
        return "hydra", mpiexec, shell
    return "env", "", shell


def _resolve(image: str, settings: Settings) -> str:
    """Return an image's digest, or "" when its registry doesn't answer: nodes may have it.

    Raises:
        ImageError: there is no such image, or it is refused.
    """
    from hpcbox.image.digest import Digest  # noqa: PLC0415 - only with an image
    from hpcbox.image.local_path import parse_typed  # noqa: PLC0415
    from hpcbox.image.reference import Reference  # noqa: PLC0415
    from hpcbox.rootfs.sources import source_of  # noqa: PLC0415

    reference = parse_typed(image, settings.default_registry)
    if isinstance(reference, Reference) and reference.digest is not None:
        return str(reference.digest)
    with suppress(RegistryUnreachable):
        return str(Digest.of(source_of(reference, settings).resolve().body))
    return ""


def _own_address(toward: str) -> str:
    """Return this machine's address in the network of another one."""
    family = socket.AF_INET6 if ":" in toward else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((toward, 9))
        return str(probe.getsockname()[0])


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first of several nodes' errors, which says how many there are; or a defect."""
    known, defects = errors.split(HpcboxError)
    if defects is not None or known is None:
        return errors
    # An image that can't be had is one error, which every node waited for.
    different = list(dict.fromkeys(known.exceptions))
    first = different[0]
    if isinstance(first, HpcboxError) and len(different) > 1:
        first.message = f"{first.message} (and {len(different) - 1} more)"
    return first

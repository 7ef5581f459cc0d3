"""Where a node's ranks run, made ready: the image pulled, the container up, the spool open.

Loaded on nodes: standard library only.
"""

import os
import time

from hpcbox.container.init_messages import Exited, Started
from hpcbox.errors import AgentFailed, HpcboxError, one_line
from hpcbox.ranks import folder, frames, own_folder, rank_environment
from hpcbox.ranks.spool import Spool

PULL = 2**30 + 1
_LOOK_SECONDS = 0.02
# Variables of a process manager around this launch: the ranks have another one.
_FOREIGN = ("PMI_", "PMI2_", "PMIX_", "HYDI_", "HYDRA_RMK", "HYDRA_BOOTSTRAP", "HYDRA_LAUNCHER")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcbox.container.init_messages import Event
    from hpcbox.container.user_mode import UserContainer
    from hpcbox.ranks.forwarding import Forwarder
    from hpcbox.ranks.host_processes import HostProcesses
    from hpcbox.ranks.node_image import Pull
    from hpcbox.ranks.node_ranks import NodeRanks
    from hpcbox.ranks.order import Order
    from hpcbox.ranks.outbox import Outbox
    from hpcbox.ranks.poller import Poller

    Taker = Callable[[Event | None], None]


class NodePlace:
    """The container, or the node itself, and the spool of what is written there."""

    def __init__(self, host: "HostProcesses", poller: "Poller", outbox: "Outbox") -> None:
        self._host = host
        self._poller = poller
        self._outbox = outbox
        self._order: Order | None = None
        self._forwarder: Forwarder | None = None
        self._taker: Taker | None = None
        self._container: UserContainer | None = None
        self._spool: Spool | None = None
        self._pull: Pull | None = None
        self._folder = ""
        poller.watch(host.fileno(), lambda _events: self._take_from_host())

    def prepare(self, order: "Order", forwarder: "Forwarder", taker: "Taker") -> None:
        """Begin; READY or FAILED tells the launcher how it went.

        Args:
            order: this node's part of the launch.
            forwarder: gets to know the spool.
            taker: called with every event of ranks and hydra's processes.

        Raises:
            HpcboxError: this node can't run the ranks.
        """
        if self._order is not None:
            raise AgentFailed("the launcher gave two orders")
        self._order, self._forwarder, self._taker = order, forwarder, taker
        self._open_spool(order, forwarder)
        if not order.image:
            self._say_ready(order)
        elif order.digest and _is_stored(order):
            self._enter(order)
        else:
            self._start_pull(order)

    def ranks(self, way: str, address: str) -> "NodeRanks":
        """Return the ranks of this node, not started.

        Args:
            way: how they find each other; `merged` is hydra without a shell in the image.
            address: of the first node.

        Raises:
            AgentFailed: the launcher hasn't waited for READY, or the ranks of an MPI program
                would not find each other.
        """
        from hpcbox.ranks import node_ranks  # noqa: PLC0415 - while others get ready

        order, spool, forwarder = self._order, self._spool, self._forwarder
        if order is None or spool is None or forwarder is None:
            raise AgentFailed("the launcher started ranks without an order")
        order.mpi, order.master = way, address
        if way in ("env", "none"):
            self._refuse_singletons(order)
        ranks = node_ranks.NodeRanks(
            order,
            self._container or self._host,
            self._environment(order),
            self._container.workdir if self._container is not None else order.cwd,
            poller=self._poller,
            outbox=self._outbox,
            spool=spool,
            forwarder=forwarder,
        )
        if way == "hydra":
            inside = _inside(self._own_folder(order), in_container=self._container is not None)
            ranks.prepare_hydra(self._own_folder(order), inside)
        return ranks

    def _refuse_singletons(self, order: "Order") -> None:
        from hpcbox.ranks import image_mpi  # noqa: PLC0415 - loaded by now

        pid = None if self._container is None else self._container.init_pid
        text = image_mpi.refusal(pid, order.command[0], self._environment(order), order.tasks)
        if text:
            raise AgentFailed(text)

    def singletons(self) -> str | None:
        """Explain why the ranks that run in the container would each be alone, or None."""
        if self._container is None or self._order is None:
            return None
        from hpcbox.ranks import singletons  # noqa: PLC0415 - only where nothing joins the ranks

        return singletons.of_task(self._container.init_pid, self._order.tasks, launcher="ssh")

    def kill(self) -> None:
        """End everything that runs in the place."""
        if self._container is not None:
            self._poller.forget(self._container.fileno())
            self._container.close()
            self._container = None
        elif self._order is not None:
            for key in (*self._order.ranks, *_launcher_keys(self._order)):
                self._host.signal(key, 9)

    def wait_for_output(self, then: "Callable[[], None]") -> None:
        """Call `then` when the launcher has all output that it wants."""
        order, forwarder = self._order, self._forwarder
        if order is None or forwarder is None or all(map(forwarder.is_done, order.ranks)):
            then()
        else:
            self._poller.call_later(_LOOK_SECONDS, lambda: self.wait_for_output(then))

    def record_end(self) -> None:
        """Note in the node's events that all is over."""
        self._record("ended", "")

    def record_failure(self, text: str) -> None:
        """Note in the node's events why this node can't go on."""
        self._record("failed", text)

    def close(self) -> None:
        """End the place and the spool, and remove the own folder."""
        self.kill()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._folder:
            own_folder.remove(self._folder)

    def _open_spool(self, order: "Order", forwarder: "Forwarder") -> None:
        path = folder.open_folder(order.cwd, order.job, order.step, order.run)
        self._spool = Spool(
            path,
            order.node,
            self._poller,
            wrote=forwarder.wrote,
            problem=self._say_problem,
            onward=forwarder.onward,
        )
        forwarder.attach(self._spool)
        self._record("preparing", "")
        if order.node_index == 0:
            self._describe(order, path)

    def _describe(self, order: "Order", path: str) -> None:
        try:
            folder.write_step(path, _description(order))
            folder.register(os.path.expanduser("~"), order.cluster, order.job, order.step, path)
        except OSError as error:
            self._say_problem(f"cannot describe the step in {path}: {error.strerror}")

    def _start_pull(self, order: "Order") -> None:
        from hpcbox.ranks.node_image import Pull  # noqa: PLC0415 - only for a missing image

        self._record("pulling", "")
        self._pull = Pull(self._poller, self._say_progress)
        self._pull.start(PULL, self._host, order, _variables(order))

    def _say_progress(self, text: str, done: int, total: int) -> None:
        self._outbox.send(frames.encode(frames.STATE, "pulling", one_line(text), done, total))
        if self._spool is not None:
            fields: dict[str, str | int] = {"state": "pulling", "done": done, "total": total}
            self._spool.event("node", fields)

    def _take_from_host(self) -> None:
        event = self._host.receive()
        if event is None:
            self._poller.forget(self._host.fileno())
            self._fail("the agent's keeper was killed")
        elif event.key == PULL:
            self._take_pull(event)
        elif self._taker is not None and self._container is None:
            self._taker(event)

    def _take_pull(self, event: "Event") -> None:
        pull, order = self._pull, self._order
        if isinstance(event, Started) or pull is None or order is None:
            return
        # Its last words may still be in the pipe: they come before this callback does.
        self._poller.call_later(0, lambda: self._finish_pull(event, pull, order))

    def _finish_pull(self, event: "Event", pull: "Pull", order: "Order") -> None:
        order.digest = pull.digest() or order.digest
        if not isinstance(event, Exited) or event.code != 0 or not order.digest:
            self._fail(f"cannot pull {order.image}: {pull.last_words()}")
            return
        try:
            self._enter(order)
        except HpcboxError as error:
            self._fail(str(error))

    def _enter(self, order: "Order") -> None:
        from hpcbox.container.user_mode import UserContainer  # noqa: PLC0415 - only with an image
        from hpcbox.request.wire import ContainerRequest  # noqa: PLC0415 - likewise

        names = ("image", "digest", "mounts", "workdir", "env", "cwd", "submit_dir")
        fields = {name: str(getattr(order, name)) for name in names}
        container = self._container = UserContainer.start(
            ContainerRequest({**fields, "script": "", "run": order.run}),
            store=order.store,
            digest=order.digest,
            site_mounts=tuple(order.site_mounts),
            upper_bytes=order.upper_bytes,
            own_folder=self._own_folder(order),
        )
        self._poller.watch(container.fileno(), lambda _events: self._take_from_container())
        for note in container.notes:
            self._say_problem(note)
        self._say_ready(order)

    def _take_from_container(self) -> None:
        if self._container is None or self._taker is None:
            return
        event = self._container.receive()
        if event is None:
            self._poller.forget(self._container.fileno())
        self._taker(event)

    def _say_ready(self, order: "Order") -> None:
        from hpcbox.ranks import image_mpi  # noqa: PLC0415 - after the container's start

        pid = None if self._container is None else self._container.init_pid
        path = self._environment(order).get("PATH", "")
        found = image_mpi.look(pid, path)
        self._record("ready", "")
        self._outbox.send(frames.encode(frames.READY, found.way, found.mpiexec, found.shell))

    def _own_folder(self, order: "Order") -> str:
        if not self._folder:
            self._folder = own_folder.make(f"{order.job}.{order.step}")
        return self._folder

    def _environment(self, order: "Order") -> dict[str, str]:
        variables = _variables(order)
        if self._container is not None:
            variables.update(self._container.environment)
        variables.update(rank_environment.node_variables(order))
        return variables

    def _record(self, state: str, text: str) -> None:
        if self._spool is None or self._order is None:
            return
        fields: dict[str, str | int] = {"state": state}
        if text:
            fields["text"] = one_line(text)
        if self._order.image:
            fields["image"], fields["digest"] = self._order.image, self._order.digest
        self._spool.event("node", fields)

    def _say_problem(self, text: str) -> None:
        self._outbox.send(frames.encode(frames.PROBLEM, one_line(text)))

    def _fail(self, text: str) -> None:
        self._record("failed", text)
        self._outbox.send(frames.encode(frames.FAILED, one_line(text)))


def _is_stored(order: "Order") -> bool:
    from hpcbox.store import images  # noqa: PLC0415 - only with an image

    return images.read_record(os.path.realpath(order.store), order.digest) is not None


def _variables(order: "Order") -> dict[str, str]:
    """Return the launcher's variables, but for those of a process manager around it."""
    pairs = (entry.partition("=") for entry in order.environment)
    return {name: value for name, _, value in pairs if not name.startswith(_FOREIGN)}


def _inside(path: str, *, in_container: bool) -> str:
    if not in_container:
        return path
    from hpcbox.container.user_mode import OWN_FOLDER  # noqa: PLC0415 - only with an image

    return OWN_FOLDER


def _launcher_keys(order: "Order") -> tuple[int, ...]:
    from hpcbox.ranks import node_ranks  # noqa: PLC0415 - loaded by now

    return (node_ranks.MPIEXEC, node_ranks.FIRST_PROXY + order.node_index)


def _description(order: "Order") -> "dict[str, folder.StepValue]":
    return {
        "job": order.job,
        "step": order.step,
        "cluster": order.cluster,
        "user": order.user,
        "command": order.command,
        "image": order.image,
        "digest": order.digest,
        "tasks": order.tasks,
        "node_list": ",".join(order.nodes),
        "launcher": order.transport,
        "started": time.time(),
    }

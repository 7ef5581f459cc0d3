"""A container without an administrator: made, entered and ended by the user's own process.

The node agent and `hpcbox run` own one each. Loaded where start-up is a budget: standard library
only, as in hpcbox/node.py.
"""

import os

from hpcbox import kernel, packets
from hpcbox.container import environment, init_messages, user_init
from hpcbox.container.init_messages import Command, Event, Exited, NotStarted, Started
from hpcbox.container.user_root import OWN_FOLDER, Plan
from hpcbox.errors import NodeSetupFailed, StoreError
from hpcbox.request.mounts import Mount
from hpcbox.request.wire import ContainerRequest
from hpcbox.store import images, paths

__all__ = ["OWN_FOLDER", "Event", "Exited", "NotStarted", "Started", "UserContainer"]


class UserContainer:
    """A running container; a context manager that ends it with all that runs in it.

    Attributes:
        environment: the image's variables to set for commands (container/environment.py).
        workdir, workdir_origin: where commands start by the rules, and whose choice that is.
        mounts: the mounts that were made, in their order.
        notes: lines for the user about what isn't quite as it should be.
        init_pid: the first process, as seen outside.
        record: the image's record.
    """

    def __init__(self, plan: Plan, lease: str, socket: packets.Socket) -> None:
        """Use `start`."""
        self.record = plan.record
        self.environment = tuple(
            (name, value)
            for name, _, value in (
                entry.partition("=")
                for entry in environment.image_variables(tuple(plan.record.env), plan.request.env)
            )
        )
        self.workdir = self.workdir_origin = ""
        self.mounts: tuple[Mount, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.init_pid = -1
        self._pidfd = -1
        self._lease = lease
        self._keeper = -1
        self._closed = False
        self._socket = socket

    @classmethod
    def start(
        cls,
        request: ContainerRequest,
        *,
        store: str,
        digest: str,
        site_mounts: tuple[str, ...],
        upper_bytes: int,
        own_folder: str | None = None,
    ) -> "UserContainer":
        """Make the container of an image that is complete in the user's store.

        This process must have one thread. The image's layers are protected while it lives.

        Args:
            request: what the user asked for.
            store: the user's node store.
            digest: `sha256:HEX` of the image.
            site_mounts: folders of the node that every container sees, when they exist.
            upper_bytes: size limit of the writable layer, 0 for half of the node's memory.
            own_folder: folder of the node to be seen at OWN_FOLDER inside.

        Raises:
            NodeSetupFailed: the kernel refused.
            MountRefused: a mount has no source or no place.
            StoreError: the image isn't in the store.
        """
        record = _record(store, digest)
        store = os.path.realpath(store)
        plan = Plan(
            request,
            record,
            store=store,
            site_mounts=site_mounts,
            upper_bytes=upper_bytes,
            own_folder=own_folder,
        )
        lease = images.take_lease(store, "run", os.urandom(4).hex(), os.getpid(), record)
        ours, theirs = packets.pair()
        container = cls(plan, lease, ours)
        try:
            container._keeper = _fork_keeper(theirs, plan)
            theirs.close()
            container._wait_until_ready()
        except BaseException:
            container.close()
            raise
        return container

    def _wait_until_ready(self) -> None:
        # The keeper tells the pid and the init its facts, in whatever order.
        while self.init_pid < 0 or not self.workdir:
            packet = packets.receive(self._socket)
            if packet is None:
                raise NodeSetupFailed("the container's first process died while it was set up")
            if packet.kind == b"E":
                raise init_messages.read_error(packet.payload)
            if packet.kind == b"I":
                self.init_pid = int(packet.payload)
                self._pidfd = packet.descriptors[0]
            elif packet.kind == b"R":
                self._read_facts(packets.read_strings(packet.descriptors[0]))
                os.close(packet.descriptors[0])

    def _read_facts(self, facts: list[str]) -> None:
        self.workdir, self.workdir_origin, count, *rest = facts
        self.notes = tuple(rest[: int(count)])
        words = iter(rest[int(count) :])
        self.mounts = tuple(
            Mount(source, target, int(attributes), required=True, origin=origin)
            for source, target, attributes, origin in zip(words, words, words, words, strict=True)
        )

    def fileno(self) -> int:
        """Return a descriptor that is readable when `receive` would not wait."""
        return self._socket.fileno()

    def spawn(
        self,
        key: int,
        argv: list[str],
        environment: dict[str, str],
        cwd: str,
        stdio: tuple[int, int, int],
        *,
        own_group: bool = True,
    ) -> None:
        """Start a command; what becomes of it comes as events with its key.

        Args:
            key: names the command in events and for `signal`; of the caller's choice.
            argv: its words; the first is looked up in the PATH of `environment`.
            environment: all of its variables.
            cwd: where it starts, inside.
            stdio: its stdin, stdout and stderr; they stay open here.
            own_group: give it a process group of its own; without one it stays in the caller's,
                as a job of the caller's terminal has to.

        Raises:
            NodeSetupFailed: the container has ended.
        """
        command = Command(key, argv, environment, cwd, stdio, own_group=own_group)
        payload, strings = init_messages.command_packet(command)
        try:
            packets.send(self._socket, b"C", payload, (strings, *stdio))
        except OSError as error:
            raise NodeSetupFailed("the container has ended") from error
        finally:
            os.close(strings)

    def receive(self) -> Event | None:
        """Wait for the next event; None when the container has ended.

        Raises:
            NodeSetupFailed: the init broke the protocol.
        """
        packet = packets.receive(self._socket)
        return None if packet is None else init_messages.read_event(packet)

    def signal(self, key: int, number: int) -> None:
        """Send a signal to a command's process group; one that has ended is left alone."""
        try:
            packets.send(self._socket, b"G", init_messages.signal_payload(key, number))
        except OSError:
            return

    def close(self) -> None:
        """End the container with every process in it, and wait until all of them are gone."""
        if self._closed:
            return
        self._closed = True
        self._socket.close()
        if self._pidfd >= 0:
            _kill(self._pidfd)
            os.close(self._pidfd)
        if self._keeper > 0:
            os.waitpid(self._keeper, 0)
        try:
            os.unlink(self._lease)
        except FileNotFoundError:
            return

    def __enter__(self) -> "UserContainer":  # noqa: PYI034 - Self would load typing
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _record(store: str, digest: str) -> images.ImageRecord:
    try:
        paths.check_owner(store)
    except OSError as error:
        raise StoreError(f"cannot read store {store}: {error.strerror}") from error
    record = images.read_record(store, digest)
    if record is None:
        raise StoreError(f"the image {digest} isn't in store {store}")
    return record


def _kill(process: int) -> None:
    try:
        kernel.pidfd_send_signal(process, kernel.SIGKILL)
    except ProcessLookupError:
        return


def _fork_keeper(socket: packets.Socket, plan: Plan) -> int:
    owner = os.getpid()
    try:
        keeper = os.fork()
    except OSError as error:
        raise NodeSetupFailed(f"cannot make the container: {error.strerror}") from error
    if keeper == 0:
        user_init.keep(socket, plan, owner)
    return keeper

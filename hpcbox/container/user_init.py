"""The first process of a user container: makes its root, starts commands, reaps, and ends it all.

    owner (UserContainer) ─fork─► keeper ─fork─► init = pid 1 inside
                                  waits for init  start, signal, reap; ends at its owner's end

The keeper stands outside the pid namespace, whose first process can only be a child of the one who
asked for it. When the owner dies, however that happens, the keeper and then the init get SIGKILL
(PR_SET_PDEATHSIG), and the init sees the end of its connection: the kernel ends whatever else runs
in the namespace, and its mounts go with the last process.
"""

import os
import select
from _socket import MSG_DONTWAIT, MSG_NOSIGNAL

from hpcbox import kernel, packets
from hpcbox.container import commands, init_messages, user_namespace, user_root
from hpcbox.container.init_messages import Command, Event, Exited, NotStarted, Started
from hpcbox.container.reaping import reaped
from hpcbox.container.user_root import Made, Plan
from hpcbox.principals import close_all_but

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Python ignores these; a command is to find them as its starter's did.
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE, SIGXFSZ
_FOR_OTHERS = (kernel.SIGHUP, kernel.SIGINT, kernel.SIGQUIT, kernel.SIGTERM)


def keep(socket: packets.Socket, plan: Plan, owner: int) -> None:
    """Be the keeper: start the init, wait for it, end. Doesn't return.

    Args:
        socket: to the owner.
        plan: the container.
        owner: pid of the owner.
    """
    try:
        # A terminal's signals reach the keeper too, and are none of its business.
        kernel.signal_descriptor(*_FOR_OTHERS)
        close_all_but(socket.fileno())
        _close_standard()
        user_namespace.enter()
        init = os.fork()
        if init == 0:
            _be_init(socket, plan)
        _end_with_parent(owner)
        packets.send(socket, b"I", str(init).encode(), (os.pidfd_open(init),))
        socket.close()
        os.waitpid(init, 0)
    except Exception as error:  # noqa: BLE001 - the process's end: whatever it is must be told
        _tell(socket, error)
    finally:
        os._exit(0)


def _be_init(socket: packets.Socket, plan: Plan) -> None:
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        children = kernel.signal_descriptor(kernel.SIGCHLD)
        made = user_root.make(plan)
        kernel.drop_capabilities()
        packets.send(socket, b"R", b"", (packets.write_strings(_facts(made)),))
        _Init(socket, children, plan.request.image).serve()
    except Exception as error:  # noqa: BLE001 - as in keep()
        _tell(socket, error)
    finally:
        os._exit(0)


def _facts(made: Made) -> list[str]:
    """What the owner wants to know: working directory, its origin, notes, four words a mount."""
    facts = [made.workdir, made.workdir_origin, str(len(made.notes)), *made.notes]
    for mount in made.mounts:
        facts += [mount.source, mount.target, str(mount.attributes), mount.origin]
    return facts


def _close_standard() -> None:
    """Hold nothing of the owner's standard descriptors: a reader waits for the last writer."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)


def _end_with_parent(parent: int) -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _tell(socket: packets.Socket, error: Exception) -> None:
    try:
        packets.send(socket, b"E", init_messages.error_payload(error))
    except OSError:
        return


class _Init:
    """The loop of pid 1. Nothing is imported from here on: the root is the image's."""

    def __init__(self, socket: packets.Socket, children: int, image: str) -> None:
        self._socket = socket
        self._children = children
        self._image = image
        self._running: dict[int, tuple[int, bool]] = {}  # pid → key, own group
        self._outbox: list[bytes] = []
        self._poll = select.poll()
        self._poll.register(children, select.POLLIN)
        self._poll.register(socket.fileno(), select.POLLIN)

    def serve(self) -> None:
        """Serve the owner until it closes the connection."""
        while True:
            for descriptor, events in self._poll.poll():
                if descriptor == self._children:
                    kernel.read_signal(descriptor)
                    self._reap()
                    continue
                if events & select.POLLOUT:
                    self._flush()
                if events & ~select.POLLOUT:
                    packet = packets.receive(self._socket)
                    if packet is None:
                        return
                    self._obey(packet)

    def _obey(self, packet: packets.Packet) -> None:
        if packet.kind == b"C":
            try:
                self._start(init_messages.read_command(packet))
            finally:
                for descriptor in packet.descriptors:
                    os.close(descriptor)
        elif packet.kind == b"G":
            key, number = init_messages.read_signal(packet.payload)
            self._signal(key, number)

    def _start(self, command: Command) -> None:
        problem = self._spawn(command)
        if problem is not None:
            self._say(NotStarted(command.key, problem.code, problem.text))

    def _spawn(self, command: Command) -> commands.Problem | None:
        name, path = command.argv[0], command.environment.get("PATH", "")
        try:
            os.chdir(command.cwd)
        except OSError as error:
            return commands.Problem(
                commands.COULD_NOT_START,
                f"cannot use the working directory {command.cwd} in image {self._image}: "
                f"{error.strerror} — choose one with --container-workdir",
            )
        problem = commands.problem(name, path, self._image)
        if problem is not None:
            return problem
        duplicates = [
            (os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(command.stdio)
        ]
        # A group of 0 is a new one; else the command stays in that of the owner's terminal job.
        group: dict[str, Any] = {"setpgroup": 0} if command.own_group else {}
        try:
            pid = os.posix_spawn(
                commands.find(name, path),
                command.argv,
                command.environment,
                file_actions=duplicates,
                setsigmask=(),
                setsigdef=_IGNORED_BY_PYTHON,
                **group,
            )
        except OSError as error:
            return commands.refused(name, self._image, error)
        self._running[pid] = (command.key, command.own_group)
        self._say(Started(command.key, pid))
        return None

    def _signal(self, key: int, number: int) -> None:
        for pid, (running, own_group) in self._running.items():
            if running == key:
                try:
                    os.kill(-pid if own_group else pid, number)
                except (ProcessLookupError, PermissionError):
                    return

    def _reap(self) -> None:
        """Take leave of the dead: commands, and whoever they left behind."""
        for pid, code in reaped():
            key, _own_group = self._running.pop(pid, (None, False))
            if key is not None:
                self._say(Exited(key, code))

    def _say(self, event: Event) -> None:
        self._outbox.append(init_messages.event_data(event))
        self._flush()

    def _flush(self) -> None:
        """Send what is to be said; what the owner has no room for waits for the loop."""
        try:
            while self._outbox:
                self._socket.send(self._outbox[0], MSG_DONTWAIT | MSG_NOSIGNAL)
                del self._outbox[0]
        except BlockingIOError:
            self._poll.modify(self._socket.fileno(), select.POLLIN | select.POLLOUT)
            return
        self._poll.modify(self._socket.fileno(), select.POLLIN)

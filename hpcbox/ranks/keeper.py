"""The agent's keeper: starts host processes, and outlives an agent that was killed or stopped.

    agent ─► keeper    T  a sign of life, at least every SILENCE_SECONDS
                       S  start: key; descriptors: strings (cwd, words, variables), 0, 1, 2
                       K  signal: key, number
    keeper ─► agent    S  started: key, pid
                       X  ended: key, code (128+signal)
                       N  not started: key, code, why

Everything that it started, and everything that those started, is below it: it is a subreaper
(prctl(2)), so what loses its parent becomes its child. When the agent ends, for whatever reason, it
kills them all. When the agent gives no sign of life (SIGSTOP, a hung file system) it kills the
agent first. If the keeper itself is killed, its children get SIGKILL by the kernel and the agent,
which is a subreaper too, ends the rest.

Forked by the agent, without exec. Loaded on nodes: standard library only.
"""

import errno
import os
import struct

from hpcbox import kernel, packets
from hpcbox.container.reaping import reaped
from hpcbox.ranks import descendants, signals
from hpcbox.ranks.frames import HEARTBEAT_SECONDS, SILENCE_SECONDS
from hpcbox.ranks.poller import Poller

KEY = struct.Struct("=I")
KEY_AND_NUMBER = struct.Struct("=II")

_PR_SET_CHILD_SUBREAPER = 36
_NOT_EXECUTABLE, _NOT_FOUND, _NOT_STARTED = 126, 127, 125
# What Python ignores and a program expects to have its default.
_DEFAULT_AGAIN = (
    signals.SIGPIPE,
    signals.SIGXFSZ,
    signals.SIGINT,
    signals.SIGCHLD,
    signals.SIGTERM,
    signals.SIGHUP,
)
_LAST_DESCRIPTOR = 2**20


def fork(node: str) -> packets.Socket:
    """Start the keeper of this process, the agent; return the connection to it."""
    agent = os.getpid()
    kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    ours, theirs = packets.pair()
    if os.fork() != 0:
        theirs.close()
        return ours
    try:
        ours.close()
        # Signals for the agent's session (a hang-up, Ctrl-C) are the agent's to judge.
        os.setsid()
        kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        Keeper(theirs, agent, node).run()
    finally:
        os._exit(1)


class Keeper:
    """Parent of the processes that the agent wants outside of a container."""

    def __init__(self, socket: packets.Socket, agent: int, node: str) -> None:
        self._socket = socket
        self._agent = agent
        self._node = node
        self._poller = Poller()
        self._children: dict[int, int] = {}
        self._looks = 0
        self._ended = False

    def run(self) -> None:
        """Serve until the agent ends, then leave nothing."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signals.handle(signals.SIGCHLD, _ignore)
        signals.wake_by(writer)
        self._poller.watch(reader, lambda _events: self._reap(reader))
        self._poller.watch(self._socket.fileno(), lambda _events: self._serve())
        self._poller.call_later(HEARTBEAT_SECONDS, self._look)
        while not self._ended:
            self._poller.turn()
        descendants.end_all()

    def _look(self) -> None:
        """End an agent that has said nothing for SILENCE_SECONDS."""
        self._looks += 1
        if self._looks * HEARTBEAT_SECONDS >= SILENCE_SECONDS:
            # Only while it is the parent the number is certainly its own.
            if os.getppid() == self._agent:
                os.kill(self._agent, signals.SIGKILL)
            self._ended = True
        self._poller.call_later(HEARTBEAT_SECONDS, self._look)

    def _serve(self) -> None:
        packet = packets.receive(self._socket)
        if packet is None:
            self._ended = True
            return
        self._looks = 0
        if packet.kind == b"S":
            self._start(KEY.unpack(packet.payload)[0], packet.descriptors)
        elif packet.kind == b"K":
            key, number = KEY_AND_NUMBER.unpack(packet.payload)
            for pid, of in self._children.items():
                if of == key:
                    _signal_group(pid, number)

    def _start(self, key: int, descriptors: list[int]) -> None:
        strings = packets.read_strings(descriptors[0])
        count = int(strings[1])
        words, variables = strings[2 : 2 + count], strings[2 + count :]
        environment = dict(entry.split("=", 1) for entry in variables)
        try:
            pid = _spawn(words, environment, strings[0], descriptors[1:])
        except OSError as error:
            code, text = _reason(error, words[0], environment, self._node)
            self._say(b"N", KEY_AND_NUMBER.pack(key, code) + text.encode())
        else:
            self._children[pid] = key
            self._say(b"S", KEY_AND_NUMBER.pack(key, pid))
        for descriptor in descriptors:
            os.close(descriptor)

    def _reap(self, reader: int) -> None:
        os.read(reader, 4096)
        for pid, code in reaped():
            key = self._children.pop(pid, None)
            if key is not None:
                self._say(b"X", KEY_AND_NUMBER.pack(key, code))

    def _say(self, kind: bytes, payload: bytes) -> None:
        try:
            packets.send(self._socket, kind, payload)
        except OSError:
            self._ended = True


def _spawn(words: list[str], environment: dict[str, str], cwd: str, stdio: list[int]) -> int:
    """Start a program in a session of its own that dies with this process; return its pid.

    Raises:
        OSError: what the child could not do; its `filename` is "cwd" if that was the directory.
    """
    parent = os.getpid()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _die_with(parent)
        _become(words, environment, cwd, stdio, writer)
    os.close(writer)
    try:
        report = os.read(reader, 64)
    finally:
        os.close(reader)
    if report:
        os.waitpid(pid, 0)
        number, where = report.split(b" ")
        raise OSError(int(number), os.strerror(int(number)), where.decode())
    return pid


def _die_with(parent: int) -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
    # It may have died before.
    if os.getppid() != parent:
        os._exit(_NOT_STARTED)


def _become(
    words: list[str], environment: dict[str, str], cwd: str, stdio: list[int], report: int
) -> None:
    """In the child: become the program. Never returns."""
    where = b"cwd"
    try:
        os.setsid()
        signals.wake_by(-1)
        for number in _DEFAULT_AGAIN:
            signals.as_by_default(number)
        for target, descriptor in enumerate(stdio):
            os.dup2(descriptor, target)
        os.chdir(cwd)
        where = b"exec"
        os.closerange(3, report)
        os.closerange(report + 1, _LAST_DESCRIPTOR)
        os.execvpe(words[0], words, environment)  # noqa: S606 - a program and its words, no shell
    except OSError as error:
        os.write(report, b"%d %s" % (error.errno or errno.EIO, where))
    finally:
        os._exit(_NOT_STARTED)


def _reason(
    error: OSError, program: str, environment: dict[str, str], node: str
) -> tuple[int, str]:
    if error.filename == "cwd":
        return _NOT_STARTED, f"cannot change to the working directory: {error.strerror}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        path = "" if "/" in program else f" (PATH={environment.get('PATH', '')})"
        return _NOT_FOUND, f"{program}: not found on {node}{path}"
    return _NOT_EXECUTABLE, f"{program}: {error.strerror}"


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return  # it has just ended


def _ignore(_number: int, _frame: object) -> None:
    """Let set_wakeup_fd say it."""

"""What a user container's init and its owner say to each other (packets.py carries it).

Each packet by its kind:

    owner → init   C  a command: key, own group or not; memfd of its strings, stdin, stdout, stderr
                   G  a signal: key, number
    init → owner   I  the init's pid, descriptor of its pidfd; the keeper says it
                   R  memfd of the container's facts: commands may come
                   E  class, message and hint of an error: the container can't be made
                   S  a command has started: key, pid inside
                   X  a command has ended: key, code
                   F  a command could not be started: key, code, text
"""

import struct

from hpcbox import errors, packets
from hpcbox.errors import HpcboxError, NodeSetupFailed

_COMMAND = struct.Struct("=q?")
_SIGNAL = struct.Struct("=qi")
_EVENT = struct.Struct("=qi")

# The errors that setting up can have; any other is a defect and told as such.
_ERRORS = ("MountRefused", "NodeSetupFailed", "RequestError", "StoreError", "StoreBusy")


class Command:
    """A command to be started in the container.

    Attributes:
        key: the owner's name for it.
        own_group: whether it gets a process group of its own.
        cwd: where it starts.
        argv: its words.
        environment: all of its variables.
        stdio: descriptors of its stdin, stdout and stderr.
    """

    __slots__ = ("argv", "cwd", "environment", "key", "own_group", "stdio")

    def __init__(
        self,
        key: int,
        argv: list[str],
        environment: dict[str, str],
        cwd: str,
        stdio: tuple[int, int, int],
        *,
        own_group: bool,
    ) -> None:
        self.key = key
        self.argv = argv
        self.environment = environment
        self.cwd = cwd
        self.stdio = stdio
        self.own_group = own_group


class Started:
    """A command runs; `pid` is what it is called inside."""

    __slots__ = ("key", "pid")

    def __init__(self, key: int, pid: int) -> None:
        self.key = key
        self.pid = pid


class Exited:
    """A command has ended; `code` is its exit code, or 128 + the signal that ended it."""

    __slots__ = ("code", "key")

    def __init__(self, key: int, code: int) -> None:
        self.key = key
        self.code = code


class NotStarted:
    """A command could not be started; `code` is 125, 126 or 127 and `text` says why."""

    __slots__ = ("code", "key", "text")

    def __init__(self, key: int, code: int, text: str) -> None:
        self.key = key
        self.code = code
        self.text = text


Event = Started | Exited | NotStarted


def command_packet(command: Command) -> tuple[bytes, int]:
    """Return a command's payload and a memfd of its strings, which is the caller's to close."""
    variables = [f"{name}={value}" for name, value in command.environment.items()]
    strings = [command.cwd, str(len(command.argv)), *command.argv, *variables]
    return _COMMAND.pack(command.key, command.own_group), packets.write_strings(strings)


def read_command(packet: packets.Packet) -> Command:
    """Return the command of a C packet; its three descriptors are the caller's to close."""
    key, own_group = _COMMAND.unpack(packet.payload)
    cwd, count, *rest = packets.read_strings(packet.descriptors[0])
    variables = (entry.partition("=") for entry in rest[int(count) :])
    environment = {name: value for name, _, value in variables}
    stdin, stdout, stderr = packet.descriptors[1:]
    argv = rest[: int(count)]
    return Command(key, argv, environment, cwd, (stdin, stdout, stderr), own_group=own_group)


def signal_payload(key: int, number: int) -> bytes:
    """Return the payload of a G packet."""
    return _SIGNAL.pack(key, number)


def read_signal(payload: bytes) -> tuple[int, int]:
    """Return the key and the signal's number of a G packet."""
    key, number = _SIGNAL.unpack(payload)
    return key, number


def event_data(event: Event) -> bytes:
    """Return a whole packet of an event: its kind and its payload."""
    if isinstance(event, Started):
        return b"S" + _EVENT.pack(event.key, event.pid)
    if isinstance(event, Exited):
        return b"X" + _EVENT.pack(event.key, event.code)
    text = event.text.encode("utf-8", "replace")[:8192]
    return b"F" + _EVENT.pack(event.key, event.code) + text


def read_event(packet: packets.Packet) -> Event:
    """Return the event of an S, X or F packet.

    Raises:
        NodeSetupFailed: it is another packet.
    """
    key, number = _EVENT.unpack_from(packet.payload)
    if packet.kind == b"S":
        return Started(key, number)
    if packet.kind == b"X":
        return Exited(key, number)
    if packet.kind != b"F":
        raise NodeSetupFailed("the container's init spoke out of turn")
    return NotStarted(key, number, packet.payload[_EVENT.size :].decode("utf-8", "replace"))


def error_payload(error: Exception) -> bytes:
    """Return the payload of an E packet."""
    if isinstance(error, HpcboxError):
        parts = [type(error).__name__, error.message, error.hint or ""]
    elif isinstance(error, OSError):
        parts = ["NodeSetupFailed", f"cannot make the container: {error.strerror}", ""]
    else:
        parts = ["", f"a defect in the container's set-up: {type(error).__name__}: {error}", ""]
    return "\0".join(parts).encode("utf-8", "replace")[: packets.MAX_PAYLOAD // 2]


def read_error(payload: bytes) -> HpcboxError:
    """Return the error of an E packet, to be raised."""
    name, message, hint = payload.decode("utf-8", "replace").split("\0")
    kind = getattr(errors, name) if name in _ERRORS else NodeSetupFailed
    found = kind(message, hint=hint or None)
    if not isinstance(found, HpcboxError):
        raise TypeError(name)
    return found

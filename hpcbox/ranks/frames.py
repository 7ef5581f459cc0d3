"""How the launcher and a node's agent talk: frames over one pair of byte streams.

    agent ─► launcher    MARKER, then frames (what a login shell prints before is passed over)
    launcher ─► agent    frames

A frame is a little-endian u32 (length of the payload), a u8 (its kind) and the payload. LAYOUTS
says of each kind which values follow one another in it; nothing may be left over. Both sides begin
with HELLO and end the conversation when the versions differ. A stream that breaks a rule is at its
end: there is no way back into it.

Loaded on nodes: standard library only, no json, typing or enum.
"""

import struct

from hpcbox.errors import AgentFailed

VERSION = 1
# A NUL keeps it out of every text that a shell or a banner prints.
MARKER = b"\0hpcbox-agent\0\n"
# How much a login shell may print before the marker.
MAX_NOISE = 64 * 1024
# The environment of a command is at most 2 MiB on Linux (execve(2): a quarter of the stack).
MAX_PAYLOAD = 4 * 2**20
# A block of a rank's output.
MAX_BLOCK = 64 * 1024
MAX_LIST = 100_000
# Bytes under way: of output on one node before its first CREDIT is used up, of a rank's stdin.
WINDOW = 2**20

HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS

# Both ways: the protocol's version, hpcbox's version, the node's name ("" from the launcher).
HELLO = 1
PING = 2
# launcher ─► agent
ORDER = 10  # order.py has its fields
START = 11  # way of launching, address of the first node; then on it the words of mpiexec
PROXY = 12  # start one of hydra's proxies: its words
SIGNAL = 13  # to all ranks: number
END = 14  # TERM, then KILL after so many milliseconds
CREDIT = 15  # so many more bytes of output may come
STDIN = 16  # bytes for the rank that reads; none: end of file
FINISH = 17  # all ranks of the job have ended: tidy up, and go
# agent ─► launcher
STATE = 30  # of the container: state, text, bytes done, bytes of all
READY = 31  # the way to launch (order.MPI_KINDS), path of mpiexec, "" or a remark for the user
STARTED = 32  # rank, pid
EXITED = 33  # rank, code (128+signal), its last lines
OUTPUT = 34  # rank, stream, offset of the first byte, bytes
CLOSED = 35  # rank: all its output has been sent
LAUNCHER = 36  # bytes that mpiexec or a proxy printed: key, stream, bytes
LAUNCHER_EXITED = 37  # key, code
FAILED = 38  # why this node can't go on
PROBLEM = 39  # a line for the user
GONE = 40  # after FINISH: nothing of the step is left on the node
LOST = 43  # rank: it has ended, and nobody told how
REFUSED = 42  # a rank, mpiexec or a proxy could not be started: key, code, why
ROOM = 41  # so many more bytes of STDIN may come; WINDOW at first

# i: u32, q: u64, t: text, b: bytes (the rest), l: list of texts.
LAYOUTS = {
    HELLO: "itt",
    PING: "",
    ORDER: "l",
    START: "l",
    PROXY: "il",
    SIGNAL: "i",
    END: "i",
    CREDIT: "i",
    STDIN: "b",
    FINISH: "",
    STATE: "ttqq",
    READY: "ttt",
    STARTED: "ii",
    EXITED: "iit",
    OUTPUT: "iiqb",
    CLOSED: "i",
    LAUNCHER: "iib",
    LAUNCHER_EXITED: "ii",
    FAILED: "t",
    PROBLEM: "t",
    GONE: "",
    REFUSED: "iit",
    ROOM: "i",
    LOST: "i",
}

_HEADER = struct.Struct("<IB")
_NUMBERS = {"i": struct.Struct("<I"), "q": struct.Struct("<Q")}
_LENGTH = _NUMBERS["i"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Frame:
    """One message.

    Attributes:
        kind: a key of LAYOUTS.
        values: what LAYOUTS says.
    """

    __slots__ = ("kind", "values")

    def __init__(self, kind: int, values: "tuple[Any, ...]") -> None:
        self.kind = kind
        self.values = values


def encode(kind: int, *values: "int | str | bytes | list[str] | tuple[str, ...]") -> bytes:
    """Return the bytes of a frame whose values are of the kind's layout.

    Raises:
        AgentFailed: they are more than a frame holds.
    """
    parts = []
    for code, value in zip(LAYOUTS[kind], values, strict=True):
        if code in _NUMBERS:
            parts.append(_NUMBERS[code].pack(value))
        elif isinstance(value, bytes):
            parts.append(value)
        elif isinstance(value, str):
            parts.append(_text(value))
        elif not isinstance(value, int):
            parts.append(_LENGTH.pack(len(value)))
            parts.extend(map(_text, value))
    payload = b"".join(parts)
    if len(payload) > MAX_PAYLOAD:
        raise AgentFailed(
            f"a message of {len(payload)} bytes is longer than the {MAX_PAYLOAD} that may be",
            hint="shorten the command or its environment",
        )
    return _HEADER.pack(len(payload), kind) + payload


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogateescape")
    return _LENGTH.pack(len(encoded)) + encoded


class Parser:
    """Takes a stream's bytes as they come and gives its frames; holds at most one unfinished."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, block: "bytes | memoryview") -> list[Frame]:
        """Return the frames that are complete now.

        Raises:
            AgentFailed: a frame breaks the protocol.
        """
        self._pending += block
        frames = []
        position = 0
        while len(self._pending) - position >= _HEADER.size:
            length, kind = _HEADER.unpack_from(self._pending, position)
            if kind not in LAYOUTS or length > MAX_PAYLOAD:
                raise AgentFailed(f"the protocol has no frame of kind {kind} and {length} bytes")
            end = position + _HEADER.size + length
            if len(self._pending) < end:
                break
            payload = bytes(self._pending[position + _HEADER.size : end])
            frames.append(Frame(kind, decode(kind, payload)))
            position = end
        del self._pending[:position]
        return frames


def decode(kind: int, payload: bytes) -> "tuple[Any, ...]":
    """Return the values of a frame.

    Raises:
        AgentFailed: the payload is not of the kind's layout.
    """
    values: list[Any] = []
    position = 0
    try:
        for code in LAYOUTS[kind]:
            if code == "b":
                values.append(payload[position:])
                position = len(payload)
                continue
            value, position = _READERS[code](payload, position)
            values.append(value)
    except (struct.error, IndexError) as error:
        raise AgentFailed(f"a frame of kind {kind} is cut short") from error
    if position != len(payload):
        raise AgentFailed(f"a frame of kind {kind} has {len(payload) - position} bytes too many")
    return tuple(values)


def _read_number(payload: bytes, position: int) -> tuple[int, int]:
    return _NUMBERS["i"].unpack_from(payload, position)[0], position + 4


def _read_long(payload: bytes, position: int) -> tuple[int, int]:
    return _NUMBERS["q"].unpack_from(payload, position)[0], position + 8


def _read_text(payload: bytes, position: int) -> tuple[str, int]:
    length, position = _read_number(payload, position)
    if length > len(payload) - position:
        raise IndexError
    end = position + length
    return payload[position:end].decode("utf-8", "surrogateescape"), end


def _read_list(payload: bytes, position: int) -> tuple[list[str], int]:
    count, position = _read_number(payload, position)
    if count > MAX_LIST:
        raise IndexError
    texts = []
    for _ in range(count):
        text, position = _read_text(payload, position)
        texts.append(text)
    return texts, position


_READERS = {"i": _read_number, "q": _read_long, "t": _read_text, "l": _read_list}

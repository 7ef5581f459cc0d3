"""Messages with descriptors over a SOCK_SEQPACKET socket: how the node's processes talk.

A packet is one byte that names its kind, a payload of bytes, and at most 250 descriptors
(SCM_RIGHTS, unix(7)). Whoever receives knows which kinds it expects; anything else is refused.
Loaded on every node and step: `_socket` instead of `socket`, which costs enum and selectors.
"""

import _socket
import os
import struct

MAX_PAYLOAD = 128 * 1024
MAX_DESCRIPTORS = 250  # the kernel's SCM_MAX_FD is 253

_ONE = struct.calcsize("i")

Socket = _socket.socket


class Packet:
    """One received message; its descriptors belong to the receiver.

    Attributes:
        kind: one byte.
        payload: what follows it.
        descriptors: open descriptors, close-on-exec.
    """

    __slots__ = ("descriptors", "kind", "payload")

    def __init__(self, kind: bytes, payload: bytes, descriptors: list[int]) -> None:
        self.kind = kind
        self.payload = payload
        self.descriptors = descriptors


def pair() -> tuple[Socket, Socket]:
    """Return the two ends of a new connection, both close-on-exec."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)


def adopt(descriptor: int) -> Socket:
    """Return the socket of a descriptor that this process was started with."""
    os.set_inheritable(descriptor, False)
    return _socket.socket(fileno=descriptor)


def send(
    socket: Socket, kind: bytes, payload: bytes = b"", descriptors: tuple[int, ...] = ()
) -> None:
    """Send one packet; the descriptors stay open here.

    Raises:
        OSError: the other end has gone (EPIPE) or the packet is too large (EMSGSIZE).
    """
    rights = struct.pack(f"{len(descriptors)}i", *descriptors)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if descriptors else []
    socket.sendmsg([kind + payload], ancillary, _socket.MSG_NOSIGNAL)


def receive(socket: Socket) -> Packet | None:
    """Return the next packet, or None when the other end has gone."""
    room = _socket.CMSG_SPACE(MAX_DESCRIPTORS * _ONE)
    try:
        data, ancillary, _flags, _address = socket.recvmsg(
            MAX_PAYLOAD, room, _socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:
        return None
    descriptors: list[int] = []
    for level, kind, rights in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            count = len(rights) // _ONE
            descriptors.extend(struct.unpack(f"{count}i", rights[: count * _ONE]))
    if not data:
        return None
    return Packet(data[:1], data[1:], descriptors)


def write_strings(strings: list[str]) -> int:
    """Return a memfd with the strings, a NUL after each; for more than a packet should hold."""
    memory = os.memfd_create("hpcbox", os.MFD_CLOEXEC)
    data = b"".join(string.encode("utf-8", "surrogateescape") + b"\0" for string in strings)
    view = memoryview(data)
    while view:
        view = view[os.write(memory, view) :]
    return memory


def read_strings(memory: int) -> list[str]:
    """Return the strings that `write_strings` wrote."""
    data = os.pread(memory, os.fstat(memory).st_size, 0)
    return data.decode("utf-8", "surrogateescape").split("\0")[:-1]

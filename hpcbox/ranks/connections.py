"""Connections to nodes: one each, by ssh, with verified host keys; the only importer of asyncssh.

Nothing of the user's ssh configuration is read: its jump hosts and shared masters would break a
launch. Keys come from ~/.ssh/id_* and the agent at SSH_AUTH_SOCK; host keys, or the authorities
that sign them (@cert-authority), from the two known_hosts files. Neither a password nor an agent is
ever given to a node.
"""

import asyncio
import ctypes.util
import getpass
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hpcbox.errors import NodeUnreachable, shorten
from hpcbox.ranks import agent_command
from hpcbox.ranks.link import Link


def _find_nothing(name: str) -> str | None:  # noqa: ARG001 - find_library's signature
    return None


@contextmanager
def _no_library_search() -> Iterator[None]:
    """Let nothing that is imported look for libraries: find_library(3) runs ldconfig, gcc and ld.

    asyncssh would offer UMAC and another post-quantum exchange with libnettle and liboqs; it does
    well without, and starts 50 ms to 100 ms sooner.
    """
    search = ctypes.util.find_library
    ctypes.util.find_library = _find_nothing
    try:
        yield
    finally:
        ctypes.util.find_library = search


with _no_library_search():
    import asyncssh

_CONNECT_SECONDS = 15.0
_AT_ONCE = 32
_SITE_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
# AES in hardware first: half the CPU time of the default (research: 0.38 against 0.53 s / 100 MB).
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes128-ctr",
)


class _Session(asyncssh.SSHClientSession[bytes]):
    """An agent's channel: bytes in, its end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._how = "the connection was cut"

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self._link.take_errors(data)
        else:
            self._link.take_output(data)

    def exit_status_received(self, status: int) -> None:
        self._how = f"it ended with exit code {status}"

    def exit_signal_received(
        self,
        signal: str,
        core_dumped: bool,  # noqa: ARG002, FBT001 - asyncssh's signature
        msg: str,  # noqa: ARG002
        lang: str,  # noqa: ARG002
    ) -> None:
        self._how = f"it was killed by SIG{signal}"

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f" ({shorten(str(exc), 100)})" if exc is not None and str(exc) else ""
        self._link.ended(self._how + reason)


class _Channel:
    """The way to an agent's stdin."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, channel: asyncssh.SSHClientChannel[bytes]
    ) -> None:
        self._connection = connection
        self._channel = channel

    def write(self, block: bytes) -> None:
        if not self._channel.is_closing():
            self._channel.write(block)

    def close(self) -> None:
        # Not politely: the other end may have gone, and the agent ends with its connection.
        self._connection.abort()


class Connections:
    """What all connections of a launch share. Use inside a running loop."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._files = [str(Path.home() / ".ssh/known_hosts"), _SITE_KNOWN_HOSTS]
        self._known = _known_hosts(self._files)

    async def start_agent(self, link: Link) -> None:
        """Connect to the link's node, start the agent there and attach it to the link.

        Raises:
            NodeUnreachable: with the reason, and what to do about it.
        """
        node = link.node
        async with self._slots:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    connection = await self._connect(node)
                    channel, _session = await connection.create_session(
                        lambda: _Session(link), agent_command.remote_line(), encoding=None
                    )
            except TimeoutError as error:
                raise NodeUnreachable(
                    f"node {node} doesn't answer ssh within {_CONNECT_SECONDS:g} s",
                    hint=f"try 'ssh {node} true'",
                ) from error
            except asyncssh.Error as error:
                raise self._unreachable(node, error) from error
            except OSError as error:
                raise NodeUnreachable(
                    f"cannot connect to node {node}: {_reason(error)}",
                    hint="is its name known here, and does sshd run there?",
                ) from error
        link.address = str(connection.get_extra_info("peername", ("",))[0])
        link.attach(_Channel(connection, channel))

    async def _connect(self, node: str) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            node,
            username=getpass.getuser(),
            config=None,
            known_hosts=self._known,
            preferred_auth="publickey",
            agent_path=os.environ.get("SSH_AUTH_SOCK"),
            agent_forwarding=False,
            gss_host=None,
            compression_algs=None,
            encryption_algs=_CIPHERS,
            keepalive_interval=2,
            keepalive_count_max=3,
            login_timeout=_CONNECT_SECONDS,
        )

    def _unreachable(self, node: str, error: asyncssh.Error) -> NodeUnreachable:
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return self._unknown_host(node)
        if isinstance(error, asyncssh.PermissionDenied):
            return NodeUnreachable(
                f"node {node} accepts none of your ssh keys",
                hint="put the public one into ~/.ssh/authorized_keys there, or start an ssh-agent",
            )
        return NodeUnreachable(
            f"the ssh connection to node {node} failed: {shorten(error.reason or str(error))}",
            hint=f"try 'ssh {node} true'",
        )

    def _unknown_host(self, node: str) -> NodeUnreachable:
        try:
            address = socket.gethostbyname(node)
        except OSError:
            address = ""
        entries = self._known.match(node, address, None)
        files = " and ".join(self._files)
        if any(entries):
            return NodeUnreachable(
                f"node {node} has another host key than {files} say: it may be an impostor",
                hint="ask an administrator, then remove the old line with "
                f"'ssh-keygen -R {node}' or let the site correct its file",
            )
        return NodeUnreachable(
            f"the host key of node {node} stands in neither {files}",
            hint=f"check the key, then add it with 'ssh-keyscan {node} >>~/.ssh/known_hosts'",
        )


def _known_hosts(files: Sequence[str]) -> asyncssh.SSHKnownHosts:
    """Read the files that exist; a line that can't be read is an error that names the file."""
    text = ""
    for path in files:
        try:
            text += Path(path).read_text(encoding="utf-8", errors="surrogateescape") + "\n"
        except FileNotFoundError:
            continue
        except OSError as error:
            raise NodeUnreachable(f"cannot read {path}: {error.strerror}") from error
    try:
        return asyncssh.import_known_hosts(text)
    except ValueError as error:
        raise NodeUnreachable(
            f"cannot read {' or '.join(files)}: {error}", hint="correct the line"
        ) from error


def _reason(error: OSError) -> str:
    return error.strerror or shorten(str(error))

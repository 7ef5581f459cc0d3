"""Pulling an image that a step needs: the fetcher's and the writer's part on a node.

Root forks both and waits. The fetcher is the job's user, with the user's credentials and the
network; the writer is the service user, with the store and without a network. A relay joins them
(image/relay_messages.py). Nothing here is loaded for an image that is present.
"""

import os
import pwd
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

from hpcbox import packets
from hpcbox.container import memory
from hpcbox.container.root import Refused
from hpcbox.image import relay
from hpcbox.image.digest import Digest
from hpcbox.image.local_path import parse_typed
from hpcbox.image.noting import Noting
from hpcbox.image.progress import PhaseLines, Progress
from hpcbox.request import wire
from hpcbox.rootfs import sinks
from hpcbox.rootfs.sources import source_of
from hpcbox.settings import load_compiled, with_user_registries
from hpcbox.store import writer
from hpcbox.store.pull import Limits

# As in spank/node_program.c.
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_REGISTRY_VARIABLES = frozenset(
    (
        *("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME", *_PROXY_VARIABLES),
        *(name.lower() for name in _PROXY_VARIABLES),
    )
)
_TIDY_SECONDS = 5.0
_PROGRESS_SECONDS = 3.0


@contextmanager
def tidied(writer: int, connection: packets.Socket) -> Iterator[None]:
    """In root: don't leave before the writer has removed what it has half made.

    A step's other processes are killed as soon as its task has ended, so a cancelled or failed
    pull waits for the writer, a few seconds at most.

    Args:
        writer: its pid.
        connection: to the writer; it ends when the writer does.

    Raises:
        Refused: this process got SIGTERM.
    """
    signal.signal(signal.SIGTERM, _refuse)
    try:
        yield
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(writer, signal.SIGTERM)
        connection.settimeout(_TIDY_SECONDS)
        with suppress(TimeoutError):
            while packets.receive(connection) is not None:
                pass
        raise
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _refuse(_number: int, _frame: FrameType | None) -> None:
    raise Refused(b"the pull was cancelled")


def fetch(
    root: packets.Socket, writer_end: packets.Socket, request_bytes: bytes, settings_path: str
) -> None:
    """Fetch for the writer what it asks for; progress goes to root, P for people, N for the spool.

    Raises:
        HpcboxError: the image can't be had; principals.fork tells root.
    """
    settings = load_compiled(settings_path)
    request = wire.read(request_bytes)
    # The plugin has cleared the environment; credentials stand in the user's home.
    os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    os.environ.update(_registry_variables(request.registries))
    # Relative only where the client has no hpcbox that could make it whole.
    folder = request.submit_dir or request.cwd
    reference = parse_typed(request.image, settings.default_registry, folder)
    memory.check(str(reference))
    show = PhaseLines(
        lambda line: packets.send(root, b"P", line.encode()), interval_seconds=_PROGRESS_SECONDS
    )

    def report(progress: Progress) -> None:
        # As the user wrote it: the digest that was added says nothing to a reader.
        shown = replace(progress, image=request.image)
        show(shown)
        packets.send(root, b"N", _event(shown))

    # All nodes are to use what the client has resolved, if it has.
    digest = Digest.parse(request.digest) if request.digest else None
    # Fetching with the user's credentials, it reaches registries as the user does.
    known = with_user_registries(settings)
    noting = Noting(report)
    relay.serve(writer_end, source_of(reference, known, digest, notice=noting.notice), noting)


def _registry_variables(lines: str) -> dict[str, str]:
    """Return those of a request's variables that may be set for the one who fetches."""
    pairs = (line.partition("=") for line in lines.splitlines())
    return {name: value for name, _, value in pairs if name in _REGISTRY_VARIABLES}


def _event(progress: Progress) -> bytes:
    words = ["state", "pulling", "text", progress.line()]
    if progress.bytes_total:
        words += ["done", str(progress.bytes_done), "total", str(progress.bytes_total)]
    return "\0".join(words).encode()


def write(
    root: packets.Socket,
    fetcher_end: packets.Socket,
    uid: int,
    settings_path: str,
    form: str,
) -> None:
    """Write the fetched image to the store and send root its digest as a D packet.

    `form` is what its layers become (rootfs/sinks.py).

    Raises:
        HpcboxError: the image isn't what it promises or the store can't take it.
    """
    # As an exception the signal unwinds the pull: what is half made is removed.
    signal.signal(signal.SIGTERM, _end)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    settings = load_compiled(settings_path)
    sink = sinks.sink_of(form)
    digest = writer.write(fetcher_end, settings.store, uid, sink, Limits.of(settings))
    packets.send(root, b"D", digest.removeprefix("sha256:").encode())


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)

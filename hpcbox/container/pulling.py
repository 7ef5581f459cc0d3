"""Pulling an image that a step needs: the fetcher's and the writer's part on a node.

The fetcher is the job's user, with the user's credentials and the network; the writer is the
service user, with the store and without a network. A relay joins them (image/relay_messages.py).
Both are children of the node program that live as long as the pull; nothing here is loaded for an
image that is present.
"""

import os
import pwd
import resource
import signal
import sys
from types import FrameType

from hpcbox import packets
from hpcbox.container import memory
from hpcbox.image import relay
from hpcbox.image.progress import PhaseLines
from hpcbox.image.reference import Reference, parse_fetchable
from hpcbox.image.registry import RegistrySource
from hpcbox.request import wire
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.settings import Settings, load_compiled
from hpcbox.store import writer
from hpcbox.store.pull import Limits


def fetch(
    root: packets.Socket, writer_end: packets.Socket, request_bytes: bytes, settings_path: str
) -> None:
    """Fetch for the writer what it asks for; progress goes to root as P packets.

    Raises:
        HpcboxError: the image can't be had; principals.fork tells root.
    """
    settings = load_compiled(settings_path)
    request = wire.read(request_bytes)
    reference = _pinned(request, settings)
    memory.check(str(reference))
    # The plugin has cleared the environment; credentials stand in the user's home.
    os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    report = PhaseLines(lambda line: packets.send(root, b"P", line.encode()))
    relay.serve(writer_end, RegistrySource(reference, settings), report)


def _pinned(request: wire.ContainerRequest, settings: Settings) -> Reference:
    """Return the reference with the digest that the client has resolved, if it has."""
    pinned = request.digest and not request.image.endswith(f"@{request.digest}")
    text = f"{request.image}@{request.digest}" if pinned else request.image
    return parse_fetchable(text, settings.default_registry)


def write(
    root: packets.Socket, fetcher_end: packets.Socket, store: str, uid: int, settings_path: str
) -> None:
    """Write the fetched image to the store and send root its digest as a D packet.

    Raises:
        HpcboxError: the image isn't what it promises or the store can't take it.
    """
    # As an exception the signal unwinds the pull: what is half made is removed.
    signal.signal(signal.SIGTERM, _end)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    settings = load_compiled(settings_path)
    limits = Limits(settings.max_image_bytes, settings.max_entries, settings.pull_threads)
    digest = writer.write(fetcher_end, store, uid, DirectorySink(), limits)
    packets.send(root, b"D", digest.removeprefix("sha256:").encode())


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)

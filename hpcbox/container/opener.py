"""The job's user's part in making a container: open mount sources, find targets, fill in files.

Runs in a child that is the user for good (principals.become), in the container's mount namespace
but with the node's root. It answers root's packets in a fixed order, so that root needs no path
of the user's: root gets descriptors and attribute bits.

    user → root   O  the request can be read and all its sources are open
    root → user   R  + descriptor of the container root, descriptor of the image's part
    user → root   S  + kind and attributes (root.SOURCE) + descriptor of the source, once a mount
                  T  + descriptor of the target in the root; root answers K when it is mounted
                  F  + descriptor of the environment: done
                  E  + text: cannot be done

Loaded on every node and step.
"""

import os

from hpcbox import packets
from hpcbox.container import environment, identity, places
from hpcbox.container.mounts import folder_mounts, kernel_mounts
from hpcbox.container.root import BIND, SOURCE, TMPFS
from hpcbox.errors import HpcboxError, RequestError
from hpcbox.request import mounts as grammar
from hpcbox.request import wire


def serve(socket: packets.Socket, request_bytes: bytes, site_mounts: tuple[str, ...]) -> None:
    """Do the user's part of one container; errors go to root as an E packet.

    Args:
        socket: the connection to root.
        request_bytes: what the plugin sent.
        site_mounts: folders that the site shows in every container.
    """
    try:
        request = wire.read(request_bytes)
        sources = places.open_sources(kernel_mounts() + folder_mounts(request, site_mounts))
        packets.send(socket, b"O")
        start = packets.receive(socket)
        if start is None:
            return
        root, image_part = start.descriptors
        identity.write_files(root)
        for mount, source, target in places.targets(root, sources):
            if not _mount(socket, mount, source, target):
                return
        packets.send(socket, b"F", b"", (_environment(request, image_part, root),))
    except HpcboxError as error:
        packets.send(socket, b"E", str(error).encode())


def _mount(socket: packets.Socket, mount: grammar.Mount, source: int | None, target: int) -> bool:
    """Have root make a mount; return whether root is still there."""
    kind = TMPFS if source is None else BIND
    descriptors = () if source is None else (source,)
    packets.send(socket, b"S", SOURCE.pack(kind, mount.attributes), descriptors)
    packets.send(socket, b"T", b"", (target,))
    os.close(target)
    return packets.receive(socket) is not None


def _environment(request: wire.ContainerRequest, image_part: int, root: int) -> int:
    """Return a memfd with the working directory, the digest and the variables, NUL after each."""
    parts = packets.read_strings(image_part)
    if len(parts) < 2:
        raise RequestError("the store's record of the image can't be read")
    image_workdir, digest = parts[:2]
    workdir, _origin = places.working_directory(request, image_workdir, root)
    lines = [workdir, digest]
    lines += environment.image_variables(tuple(parts[2:]), request.env)
    return packets.write_strings(lines)

"""The node program: makes the container of one step on one node and hands its namespace over.

    plugin (local task 0) ─► node program (root)
                               ├─ spool           (job's user): the ranks' output; stays
                               ├─ service child   (service user): image's record, layers
                               ├─ fetcher, writer (user, service user): only if the image is missing
                               └─ user child      (job's user): mount sources, targets, files
                               mounts of descriptors, pivot_root ─► namespace ─► plugin

Root forks, mounts descriptors, and copies bytes that it doesn't look into; each child becomes its
principal for good before it reads anything (principals.py). Progress and errors go to the plugin,
which writes them to the task's stderr as the user.

Started once per step and node by the plugin with `-I -S`; start-up is a budget: the standard
library only, without dataclasses, enum, pathlib, logging, tomllib, asyncio, typing and json
(tests/test_start_up.py pins what is loaded).
"""

import os
import sys

from hpcbox import kernel, packets, principals
from hpcbox.container import root as container_root
from hpcbox.container.root import Refused, expect
from hpcbox.errors import HpcboxError, NodeSetupFailed, one_line
from hpcbox.json_scan import loads
from hpcbox.rootfs.mounting import LayerMounts
from hpcbox.store.opened_layer import OpenedLayer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hpcbox.principals import Role

COULD_NOT_START = 125
_REQUEST, _PLUGIN, _STEP = 3, 4, 5
_MAX_REQUEST = 2**20
_MAX_TEXT = 4000
_OWN_GROUP = 0  # waitpid(2)


class Order:
    """What the plugin says of the step; its own words, not the user's.

    Attributes:
        uid, gid, groups: the job's user.
        job, step: ids as Slurm prints them.
        owner: pid of slurmstepd, whose life is the step's.
        node: Slurm's name of this node.
        tasks: of this step, on this node.
        umask: the job's.
        output: the user's `spool` or `pass`, "" for what the site prefers.
        settings: path of the site's compiled settings.
    """

    __slots__ = (
        *("gid", "groups", "job", "node", "output", "owner", "settings", "step", "tasks", "uid"),
        "umask",
    )

    def __init__(self, words: list[str]) -> None:
        values = dict(zip(words[::2], words[1::2], strict=True))
        self.uid = int(values["--uid"])
        self.gid = int(values["--gid"])
        self.groups = tuple(int(gid) for gid in values["--groups"].split(",") if gid)
        self.job = values["--job"]
        self.step = values["--step"]
        self.owner = int(values["--owner"])
        self.node = values["--node"]
        self.tasks = int(values["--tasks"])
        self.umask = int(values["--umask"])
        self.output = values["--output"]
        self.settings = values["--settings"]


class Site:
    """The settings that the node program needs, from the compiled file."""

    __slots__ = ("access_seconds", "gid", "mounts", "output", "sink", "store", "uid", "upper_bytes")

    def __init__(self, path: str) -> None:
        try:
            with open(path, encoding="utf-8") as file:
                table = loads(file.read())
            if not isinstance(table, dict) or table["version"] != 1:
                raise NodeSetupFailed(f"{path} was compiled by another version of hpcbox")
            self.store = str(table["store"])
            self.mounts = tuple(str(path) for path in table["mounts"])
            self.access_seconds = int(table["access_seconds"])
            self.upper_bytes = int(table["upper_bytes"])
            self.output = str(table["output"])
            self.sink = str(table["sink"])
            service_user = str(table["service_user"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NodeSetupFailed(
                f"cannot read the settings {path}: {error}",
                hint="an administrator runs 'hpcbox settings --compile'",
            ) from error
        self.uid, self.gid = principals.service_account(service_user)


class Audience:
    """Who hears how the container is getting on.

    Attributes:
        plugin: writes to the task's stderr what it hears, and waits for the end.
        spool: keeps it as events of the node; None while, or because, there is no spool.
    """

    __slots__ = ("plugin", "spool")

    def __init__(self, plugin: packets.Socket) -> None:
        self.plugin = plugin
        self.spool: packets.Socket | None = None

    def event(self, *words: bytes) -> None:
        """Have an event of the node kept: names and values in turn."""
        if self.spool is not None:
            try:
                packets.send(self.spool, b"N", b"\0".join(words))
            except OSError:
                self.spool = None

    def progress(self, text: bytes) -> None:
        """Show a line."""
        packets.send(self.plugin, b"P", _spoken(text))

    def fail(self, text: bytes) -> None:
        """End the step with a line."""
        self.event(b"state", b"failed", b"text", text[:_MAX_TEXT])
        try:
            packets.send(self.plugin, b"E", bytes((COULD_NOT_START,)) + _spoken(text))
        except OSError:
            # The task has gone (scancel): there is nobody to tell.
            os.kill(os.getpid(), kernel.SIGKILL)


def main(words: list[str]) -> None:
    """Make the container, tell the plugin, and end this process."""
    audience = Audience(packets.adopt(_PLUGIN))
    try:
        _make_container(Order(words), audience)
    except Refused as refused:
        audience.fail(refused.text)
    except HpcboxError as error:
        audience.fail(str(error).encode())
    except Exception as error:  # noqa: BLE001 - fail closed, and in one line: this is a defect
        text = f"a defect in the node program: {type(error).__name__}: {error}"
        audience.fail(one_line(text).encode())
    os._exit(COULD_NOT_START)


def _make_container(order: Order, audience: Audience) -> None:
    site = Site(order.settings)
    request = os.pread(_REQUEST, _MAX_REQUEST, 0)
    user = (order.uid, order.gid)
    # In the node's own mount namespace: it writes where the job's files are.
    if (order.output or site.output) == "spool":
        audience.spool = _fork_spool(order, request)
    os.close(_STEP)
    namespace = _enter_namespace()
    opener = _fork_user_child(order, site, request)
    librarian = _fork_service_child(order, site, request, "")
    expect(packets.receive(opener), b"O", "user")
    layers = LayerMounts((site.uid, site.gid), user)
    image_part = _mount_layers(librarian, layers)
    if image_part is None:
        digest = _pull(order, site, request, audience)
        librarian = _fork_service_child(order, site, request, digest)
        image_part = _mount_layers(librarian, layers)
    if image_part is None:
        raise NodeSetupFailed("the image was removed from the store while it was pulled")
    root = container_root.stack(layers, user, site.upper_bytes)
    environment = container_root.mount_folders(opener, root, image_part, user)
    container_root.pivot(root)
    packets.send(audience.plugin, b"R", b"", (namespace, environment))
    audience.event(b"state", b"ready")
    _reap()
    os._exit(0)


def _reap() -> None:
    """Wait for the children, who have all said their last, but not for the spool, which stays."""
    try:
        while True:
            os.waitpid(_OWN_GROUP, 0)
    except ChildProcessError:
        return


def _fork_spool(order: Order, request: bytes) -> packets.Socket:
    """Start the process that keeps the ranks' output; it ends with slurmstepd, not with us."""

    def role(socket: packets.Socket) -> None:
        from hpcbox.ranks import step_spool  # noqa: PLC0415 - in this child only

        step_spool.serve(
            socket,
            packets.adopt(_STEP),
            request,
            step_spool.Place(order.job, order.step, order.node, order.tasks),
            umask=order.umask,
        )

    account = (order.uid, order.gid, order.groups)
    child, socket = _fork(account, role, keep=(_STEP,), death_signal=0)
    os.setpgid(child, child)
    return socket


def _enter_namespace() -> int:
    container_root.enter_private_namespace()
    return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _fork_user_child(order: Order, site: Site, request: bytes) -> packets.Socket:
    """Start the job's user's part; it opens the mount sources while the image is looked up."""

    def role(socket: packets.Socket) -> None:
        from hpcbox.container import opener  # noqa: PLC0415 - pwd and grp load in this child only

        opener.serve(socket, request, site.mounts)

    return _fork((order.uid, order.gid, order.groups), role)[1]


def _fork_service_child(order: Order, site: Site, request: bytes, digest: str) -> packets.Socket:
    """Start the service user's part; `digest` names the image that was just pulled, if one was."""

    def role(socket: packets.Socket) -> None:
        from hpcbox.store import librarian  # noqa: PLC0415 - in this child only

        librarian.serve(
            socket,
            request,
            digest,
            store=site.store,
            uid=order.uid,
            access_seconds=site.access_seconds,
            lease=(order.job, order.step, order.owner),
        )

    return _fork((site.uid, site.gid, ()), role)[1]


def _mount_layers(librarian: packets.Socket, layers: LayerMounts) -> int | None:
    """Mount the layers that the service child lends; return the image's part of the environment.

    None: the image, or the user's right to it, isn't in the store; then nothing was mounted.
    """
    while True:
        packet = expect(packets.receive(librarian), b"LIM", "service")
        if packet.kind == b"M":
            return None
        if packet.kind == b"I":
            return packet.descriptors[0]
        layers.add(OpenedLayer(packet.payload, packet.descriptors))
        packets.send(librarian, b"K")


def _pull(order: Order, site: Site, request: bytes, audience: Audience) -> str:
    """Fetch the image as the user, write it as the service user; return its digest in hex.

    Raises:
        Refused: one of the two said why it can't be had.
        SettingsError: this node can't mount what the site wants its layers to be.
        NodeSetupFailed: one of them died.
    """
    from hpcbox.container import pulling  # noqa: PLC0415 - only when an image is missing
    from hpcbox.rootfs import sinks  # noqa: PLC0415

    fetcher_end, writer_end = packets.pair()
    form = sinks.choose(sinks.probe(site.store), site.sink)

    def fetch(socket: packets.Socket) -> None:
        pulling.fetch(socket, fetcher_end, request, order.settings)

    def write(socket: packets.Socket) -> None:
        pulling.write(socket, writer_end, order.uid, order.settings, form)

    fetcher = (order.uid, order.gid, order.groups)
    _, reports = _fork(fetcher, fetch, keep=(fetcher_end.fileno(),))
    # The writer has something to tidy up when this process dies: it gets SIGTERM.
    writer, result = _fork(
        (site.uid, site.gid, ()),
        write,
        keep=(writer_end.fileno(),),
        network=False,
        death_signal=kernel.SIGTERM,
    )
    fetcher_end.close()
    writer_end.close()
    with pulling.tidied(writer, result):
        while (packet := packets.receive(reports)) is not None:
            if packet.kind == b"E":
                raise Refused(packet.payload)
            if packet.kind == b"N":
                audience.event(packet.payload)
            else:
                audience.progress(packet.payload)
        packet = expect(packets.receive(result), b"D", "pulling")
    digest = packet.payload.decode("ascii", "replace")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise NodeSetupFailed("the pulling process spoke out of turn")
    return digest


def _fork(
    account: tuple[int, int, tuple[int, ...]],
    role: "Role",
    *,
    keep: tuple[int, ...] = (),
    network: bool = True,
    death_signal: int = kernel.SIGKILL,
) -> tuple[int, packets.Socket]:
    """Run a role in a child that is another principal; return its pid and the connection to it.

    The child ends with its role, and gets `death_signal`, if any, when this process dies before.
    """
    ours, theirs = packets.pair()
    child = principals.fork(
        account, role, theirs, keep=keep, network=network, death_signal=death_signal
    )
    theirs.close()
    return child, ours


def _spoken(text: bytes) -> bytes:
    node = os.uname().nodename.partition(".")[0]
    return b"hpcbox: " + node.encode() + b": " + text[:_MAX_TEXT]


if __name__ == "__main__":
    main(sys.argv[1:])

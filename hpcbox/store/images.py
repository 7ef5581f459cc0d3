"""The image records of a store, as a node reads them when a step starts.

Loaded on every node and step: standard library only, and neither json nor typing nor re (start-up
is a budget). Records are written by `records.py` when everything they name has been verified.
"""

import errno
import os
import time
from _json import encode_basestring_ascii as quoted

from hpcbox.errors import ImageRemoved, RecordDamaged, StoreError, StoreFull
from hpcbox.json_scan import loads
from hpcbox.store import locks, paths
from hpcbox.store.opened_layer import OpenedLayer, open_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
_MAXIMUM_RECORD_BYTES = 16 * 2**20


class ImageRecord:
    """An image that is complete in the store.

    Attributes:
        digest: `sha256:HEX` of its platform's manifest.
        layers: names of its layers in the store, bottom first; each stands there once.
        env: the image's environment as `NAME=VALUE`.
        workdir: working directory, or "".
        entrypoint: words of the entrypoint.
        cmd: words of the default command.
        user: the image's user as its config says, or "".
        size_bytes: uncompressed size of all layers.
        pulled_at: when it was completed, in seconds since 1970.
        references: what it was pulled by.
        origins: (registry, repository) pairs that it came from.
    """

    __slots__ = (
        "cmd",
        "digest",
        "entrypoint",
        "env",
        "layers",
        "origins",
        "pulled_at",
        "references",
        "size_bytes",
        "user",
        "workdir",
    )

    def __init__(
        self,
        *,
        digest: str,
        layers: list[str],
        env: list[str],
        workdir: str,
        entrypoint: list[str],
        cmd: list[str],
        user: str,
        size_bytes: int,
        pulled_at: int,
        references: list[str],
        origins: list[tuple[str, str]],
    ) -> None:
        self.digest = digest
        self.layers = layers
        self.env = env
        self.workdir = workdir
        self.entrypoint = entrypoint
        self.cmd = cmd
        self.user = user
        self.size_bytes = size_bytes
        self.pulled_at = pulled_at
        self.references = references
        self.origins = origins


def read_record(store: str, digest: str) -> ImageRecord | None:
    """Return the record of an image, or None when the store has no such image.

    `digest` is `sha256:HEX` or its hex part.

    Raises:
        StoreError: the record can't be read.
    """
    path = paths.image(store, digest.removeprefix("sha256:"), "json")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        text = file.read(_MAXIMUM_RECORD_BYTES)
    try:
        table = loads(text.decode())
        if not isinstance(table, dict) or table.pop("version") != VERSION:
            raise StoreError(f"{path} was written by another version of hpcbox")
        table["origins"] = [
            (origin["registry"], origin["repository"]) for origin in table["origins"]
        ]
        return ImageRecord(**table)
    except (ValueError, TypeError, KeyError) as error:
        raise RecordDamaged(
            f"{path} is damaged: {error}", hint="'hpcbox gc' removes it; then pull the image again"
        ) from error


def open_layers(store: str, record: ImageRecord) -> list[OpenedLayer]:
    """Return the image's layers, opened, bottom first.

    Raises:
        StoreError: a layer is missing.
    """
    opened: list[OpenedLayer] = []
    try:
        for name in record.layers:
            opened.append(open_layer(store, record, name))  # noqa: PERF401 - kept for the clean-up below
    except StoreError:
        for layer in opened:
            layer.close()
        raise
    return opened


def open_layer(store: str, record: ImageRecord, name: str) -> OpenedLayer:
    """Return one of the image's layers, opened.

    Raises:
        StoreError: it is missing.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(paths.layer(store, name), flags)
        try:
            return open_in(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(
            f"a layer of image {record.digest} cannot be opened: {error.strerror}",
            hint="remove the image with 'hpcbox rm' and pull it again",
        ) from error


def access_is_fresh(store: str, uid: int, digest: str, seconds: int) -> bool:
    """Say whether a registry accepted the user for the image within the last `seconds`."""
    try:
        status = os.lstat(paths.access(store, uid, digest.removeprefix("sha256:")))
    except OSError:
        return False
    # A time in the future is a clock that was set back: then nothing is known.
    return 0 <= time.time() - status.st_mtime <= seconds


def take_lease(store: str, job: str, step: str, owner_pid: int, record: ImageRecord) -> str:
    """Protect the image's layers from removal while the owner process lives; return the lease.

    The lease ends with the owner, whatever becomes of it: nobody has to give it back.

    Raises:
        StoreError: the owner isn't there, or the store can't be written.
        StoreBusy: something is being removed for too long.
        ImageRemoved: the image has gone since its record was read.
    """
    _forget_ended(store)
    lease = lease_layers(
        store, f"{job}.{step}.{os.getpid()}", owner_pid, record.layers, record.digest
    )
    # Whoever removes sees the lease from now on; what was removed before can be seen here.
    if not note_use(store, record):
        os.unlink(lease)
        raise ImageRemoved(
            f"image {record.digest} was removed from the store a moment ago", hint="start again"
        )
    return lease


def note_use(store: str, record: ImageRecord) -> bool:
    """Note that an image is used now; False when it isn't there any more.

    The time of its record's file says so; collect.py removes by it.
    """
    try:
        os.utime(paths.image(store, record.digest.removeprefix("sha256:"), "json"))
    except FileNotFoundError:
        return False
    except OSError:
        # A time that can't be set is no reason not to use an image.
        return True
    return True


def _forget_ended(store: str) -> None:
    """Remove the leases of steps that have ended, so that those of the last ones alone remain."""
    if not _forget_read(store, are_whole=False):
        return
    # One that can't be read: its writer is at it, and holds the lock, or was killed while it was.
    try:
        lock = locks.attempt(paths.store_lock(store))
    except OSError:
        # Whoever writes the new lease says what is wrong with the store.
        return
    if lock is not None:
        with lock:
            _forget_read(store, are_whole=True)


def _forget_read(store: str, *, are_whole: bool) -> bool:
    """Remove leases that have ended; say whether one is left that can't be read.

    `are_whole`: nobody is writing a lease, so one that can't be read belongs to nobody.
    """
    boot = boot_id()
    is_unread_left = False
    for name in os.listdir(f"{store}/leases"):
        path = f"{store}/leases/{name}"
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
            try:
                table = loads(text)
                ends = not owner_lives(table if isinstance(table, dict) else {}, boot)
            except (ValueError, KeyError, TypeError):
                ends = are_whole
                is_unread_left = is_unread_left or not are_whole
            if ends:
                os.unlink(path)
        except OSError:
            continue
    return is_unread_left


def lease_layers(store: str, name: str, owner_pid: int, layers: list[str], image: str) -> str:
    """Write a lease of this name for layers that exist or will; return its path.

    Raises:
        StoreError: the owner isn't there, or the store can't be written.
    """
    started = process_start(owner_pid)
    if started is None:
        raise StoreError(f"process {owner_pid} is not there: its lease would end at once")
    names = ",".join(quoted(layer) for layer in layers)
    text = (
        f'{{"version":{VERSION},"owner_pid":{owner_pid},"owner_start":{started},'
        f'"boot":{quoted(boot_id())},"layers":[{names}],"image":{quoted(image)}}}\n'
    )
    path = f"{store}/leases/{name.replace('/', '_')}"
    try:
        with locks.wait(paths.store_lock(store), shared=True):
            descriptor = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            try:
                with open(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
            except OSError:
                # Half a lease protects nothing.
                os.unlink(path)
                raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StoreFull if full else StoreError)(
            f"cannot write the lease {path}: {error.strerror}",
            hint="free space with 'hpcbox gc'" if full else None,
        ) from error
    return path


def owner_lives(table: "dict[str, Any]", boot: str) -> bool:
    """Say whether the process that a lease names lives, while the machine's boot is `boot`.

    Raises:
        KeyError, TypeError, ValueError: the lease names none.
    """
    # After a boot the same pid may have started at the same tick. Format 1 didn't note it.
    return table.get("boot", boot) == boot and (
        process_start(int(table["owner_pid"])) == int(table["owner_start"])
    )


def boot_id() -> str:
    """Return what names this boot of the machine; "" where /proc doesn't say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None when it is gone.

    With the pid this names a process for good: pids are used again. proc(5), stat field 22.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read(4096)
    except OSError:
        return None
    # The second field, the program's name in brackets, may hold blanks and brackets itself.
    fields = text.rpartition(b")")[2].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])

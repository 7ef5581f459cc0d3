"""Where things lie in a node store of format 2, and how a store begins.

    STORE/format                  the number 2 (format 1 had folders only: see upgrade.py)
    STORE/layers/HEX/layer.json   a layer's record; beside it the layer in one of these forms:
      fs/                         a folder that belongs to the store's account
      image.erofs                 a whole file system
      image.erofs, data.1 …       an index: names and modes; the content of files is in data.1, the
                                  layer's tar, and further files (erofs's devices 1, 2 …)
      image.squashfs              a whole file system, compressed
    STORE/images/HEX.json         an image's record; HEX.manifest and HEX.config as they came
    STORE/access/UID/HEX          its mtime: when a registry last accepted this user for the image
    STORE/leases/NAME             who uses which layers
    STORE/locks/HEX.lock          flock: a layer that is being made, and how far its blob is;
                                  HEX.2.lock …: a second flight; store.lock: see locks.py
    STORE/tmp/RANDOM/             everything is made here; the flock of its `alive` says by whom

The existence of layers/HEX and of images/HEX.json is the only mark of being complete: both appear
by rename(2), after everything below them is on disk. All of it belongs to one account and is closed
to others. Loaded on every node and step: standard library only, light modules only.
"""

import os

from hpcbox.errors import StoreError

FORMAT = "2\n"
_READABLE = ("1\n", FORMAT)
FOLDER, EROFS_IMAGE, SQUASHFS_IMAGE = "fs", "image.erofs", "image.squashfs"
_FOLDERS = ("layers", "images", "access", "leases", "locks", "tmp")
_HEX_DIGITS = frozenset("0123456789abcdef")


def is_hex(name: str) -> bool:
    """Say whether a name is the hex part of a sha256 digest: the only names layers have."""
    return len(name) == 64 and _HEX_DIGITS.issuperset(name)


def layer(store: str, name: str) -> str:
    """Return the folder of a layer."""
    return f"{store}/layers/{_checked(name)}"


def data(number: int) -> str:
    """Return the name of a file in a layer's folder that holds content of an index, from 1 on."""
    return f"data.{number}"


def layer_lock(store: str, name: str, flight: int = 1) -> str:
    """Return the file whose lock is held by the one who makes a layer; following.py counts."""
    number = "" if flight == 1 else f".{flight}"
    return f"{store}/locks/{_checked(name)}{number}.lock"


def image(store: str, digest_hex: str, suffix: str) -> str:
    """Return the file of an image: its record (json), its manifest or its config."""
    return f"{store}/images/{_checked(digest_hex)}.{suffix}"


def access(store: str, uid: int, digest_hex: str) -> str:
    """Return the file whose mtime says when a user's right to an image was last confirmed."""
    return f"{store}/access/{uid}/{_checked(digest_hex)}"


def scratch(store: str) -> str:
    """Return the folder of the scratch folders."""
    return f"{store}/tmp"  # noqa: S108 - below the store, which is closed to others


def store_lock(store: str) -> str:
    """Return the file of the lock of the whole store."""
    return f"{store}/locks/store.lock"


def prepare(store: str) -> None:
    """Make the store where it is missing; check that it is one, and this account's alone.

    Raises:
        StoreError: the folder belongs to somebody else, is open to others, or of another format.
        OSError: it can't be made.
    """
    os.makedirs(store, mode=0o700, exist_ok=True)
    check_owner(store)
    for name in _FOLDERS:
        try:
            os.mkdir(f"{store}/{name}", 0o700)
        except FileExistsError:
            continue
    if read_format(store) is None:
        # Written aside: an empty file would look like an unknown format to a second pull.
        aside = f"{store}/format.{os.getpid()}"
        with open(aside, "w", encoding="ascii") as file:
            file.write(FORMAT)
        os.rename(aside, f"{store}/format")


def check_owner(store: str) -> None:
    """Check that a store is this account's alone: in a shared folder anybody may have made it.

    Raises:
        StoreError: the folder belongs to somebody else or is open to others.
        OSError: there is none.
    """
    status = os.lstat(store)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not os.path.isdir(store):
        raise StoreError(
            f"store {store} is not a folder that belongs to uid {os.geteuid()} alone",
            hint="remove it, or set another place: HPCBOX_STORE",
        )


def read_format(store: str) -> str | None:
    """Return the content of a store's format file, None where there is none.

    Raises:
        StoreError: this hpcbox can't read stores of that format.
        OSError: the file can't be read.
    """
    try:
        with open(f"{store}/format", encoding="ascii", errors="replace") as file:
            found = file.read(64)
    except FileNotFoundError:
        return None
    if found not in _READABLE:
        raise StoreError(
            f"store {store} has format {found.strip()!r}, this hpcbox reads 1 and 2",
            hint="use the hpcbox that made it, or set another place: HPCBOX_STORE",
        )
    return found


def _checked(name: str) -> str:
    # Names come from manifests that strangers wrote: nothing but hex digits may become a path.
    if not is_hex(name):
        raise StoreError(f"'{name[:80]}' is no name of a layer or image")
    return name

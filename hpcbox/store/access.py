"""When a registry last said yes to a user for an image (site mode)."""

import os

from hpcbox.store import paths


def grant(store: str, uid: int, digest_hex: str) -> None:
    """Note that a user has just proven their access to every part of an image.

    Raises:
        OSError: the store can't be written.
    """
    path = paths.access(store, uid, digest_hex)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def forget(store: str, digest_hex: str) -> None:
    """Forget every user's access to an image.

    Raises:
        OSError: the store can't be written.
    """
    for uid in os.listdir(f"{store}/access"):
        path = f"{store}/access/{uid}/{digest_hex}"
        if os.path.lexists(path):
            os.unlink(path)

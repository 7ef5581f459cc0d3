"""flock(2) as context managers: freed by the kernel when its holder dies, however it dies.

store.lock is shared by those who add something that refers to layers (a lease, an image's record,
a scratch folder) and exclusive to those who remove things. Loaded on every node and step.
"""

import fcntl
import os
import time

from hpcbox.errors import StoreBusy

_POLL_SECONDS = 0.05


class Lock:
    """A held lock; a context manager that frees it at its end."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> "Lock":  # noqa: PYI034 - Self would load typing
        return self

    def __exit__(self, *_error: object) -> None:
        self.free()

    def write(self, text: bytes) -> None:
        """Put a text at the beginning of the lock's file, for those who wait for the lock."""
        os.pwrite(self._descriptor, text, 0)

    def free(self) -> None:
        """Free the lock."""
        os.close(self._descriptor)


def attempt(path: str, *, shared: bool = False) -> Lock | None:
    """Return the lock if nobody is in its way, else None."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(descriptor)


def wait(path: str, *, shared: bool = False, seconds: float = 60.0) -> Lock:
    """Return the lock, waiting for it at most so long.

    Raises:
        StoreBusy: others held it all the time.
    """
    # Polled: a thread inside a blocking flock could be ended by nothing.
    deadline = time.monotonic() + seconds
    while True:
        lock = attempt(path, shared=shared)
        if lock is not None:
            return lock
        if time.monotonic() >= deadline:
            raise StoreBusy("the store is in use by another hpcbox", hint="try again later")
        time.sleep(_POLL_SECONDS)

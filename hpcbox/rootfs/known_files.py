"""What is known of a file system image of the user: the image that it became when it was read.

To read all of a large file for its digest takes longer than a job's start should. What came out is
kept in ~/.cache/hpcbox/files by the file's path, inode, size and times: a job's nodes, which share
the user's home, know it then too. A cache that can't be read or written is no error, and a wrong
one does no harm: whoever takes the layer verifies it.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from hpcbox.store import layers

_VERSION = 1
_MAXIMUM_BYTES = 2**20
# A file could change again within one tick of its file system's clock.
_SETTLED_SECONDS = 2.0


class KnownFile:
    """What is known of one file."""

    def __init__(
        self, path: str, environ: Mapping[str, str], clock: Callable[[], float] = time.time
    ) -> None:
        """Look at the file as it is now; `environ` tells where the cache is."""
        self._path = path
        self._clock = clock
        self._home = environ.get("HOME", "")
        cache = environ.get("XDG_CACHE_HOME") or f"{self._home}/.cache"
        self._folder = f"{cache}/hpcbox/files"
        self._name = self._identity()

    def recall(self) -> tuple[bytes, bytes] | None:
        """Return the manifest and config of the image that the file became, or None."""
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            with open(f"{self._folder}/{self._name}.json", "rb") as file:
                table = json.loads(file.read(_MAXIMUM_BYTES))
            if table["version"] == _VERSION:
                return table["manifest"].encode(), table["config"].encode()
        return None

    def remember(self, manifest: bytes, config: bytes) -> None:
        """Keep the image that the file became, if it is still the same file."""
        # An account without a home has no cache: services, and root in disguise.
        if not os.path.isdir(self._home) or not self._name or self._identity() != self._name:
            return
        texts = {"manifest": manifest.decode(), "config": config.decode()}
        with suppress(OSError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            body = json.dumps({"version": _VERSION, "path": self._path, **texts}).encode()
            layers.write_whole(f"{self._folder}/{self._name}.json", body)

    def forget(self) -> None:
        """Forget the file: it is not what was known."""
        with suppress(OSError):
            os.unlink(f"{self._folder}/{self._name}.json")

    def _identity(self) -> str:
        """Return the name of the file as it is now, "" if it may be changing."""
        try:
            path, status = os.path.realpath(self._path), os.stat(self._path)
        except OSError:
            return ""
        if self._clock() - max(status.st_mtime, status.st_ctime) < _SETTLED_SECONDS:
            return ""
        facts = (path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return hashlib.sha256(repr(facts).encode(errors="surrogateescape")).hexdigest()

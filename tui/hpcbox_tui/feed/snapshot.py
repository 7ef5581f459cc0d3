"""The queue of the last session, for the first paint of the next: a cache, never a truth."""

import contextlib
import json
import os
import time
from dataclasses import astuple, fields

from hpcbox.views import Job, Queue, Wanted

VERSION = 1
# What a screen or two show; the whole queue is asked for anyway.
_MOST_JOBS = 200
_MOST_BYTES = 2**20
_KEEP_SECONDS = 20.0


def default_path() -> str:
    """Return where the cache is kept: $XDG_CACHE_HOME/hpcbox (basedir-spec)."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(folder, "hpcbox", "queue.json")


class Snapshot:
    """One file; whatever is wrong with it, there just is no earlier queue."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept_at = 0.0

    def load(self, wanted: Wanted) -> Queue | None:
        """Return the last queue of the same user, or None."""
        try:
            with open(self._path, "rb") as file:
                table = json.loads(file.read(_MOST_BYTES))
            if table["version"] != VERSION or table["user"] != (wanted.user or ""):
                return None
            jobs = tuple(_job(row) for row in table["jobs"])
            taken_at, cluster = float(table["taken_at"]), str(table["cluster"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Queue(jobs, taken_at, 0.0, cluster, wanted.user or "")

    def keep(self, queue: Queue) -> None:
        """Write a queue down, whole or not at all, once in a while."""
        now = time.monotonic()
        if self._kept_at and now - self._kept_at < _KEEP_SECONDS:
            return
        self._kept_at = now
        table = {
            "version": VERSION,
            "user": queue.user,
            "cluster": queue.cluster,
            "taken_at": queue.taken_at,
            "jobs": [astuple(job) for job in queue.jobs[:_MOST_JOBS]],
        }
        new = f"{self._path}.{os.getpid()}"
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(table, file)
            os.replace(new, self._path)


_TYPES = tuple((item.name, item.type) for item in fields(Job))


def _job(row: list[object]) -> Job:
    """Return a job of its values; raises ValueError or TypeError for anything else."""
    if len(row) != len(_TYPES):
        raise ValueError("another version's")
    for value, (_name, kind) in zip(row, _TYPES, strict=True):
        right = (
            isinstance(value, kind)
            if isinstance(kind, type)
            else value is None or isinstance(value, int)
        )
        if not right:
            raise ValueError("another version's")
    return Job(*row)  # type: ignore[arg-type]

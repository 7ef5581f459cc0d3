"""Room for a pull: what it needs, what the store has, and what is removed to make it fit.

Before the first blob. What an image takes is known for the layers that are there (nothing) and
guessed for the others: a manifest tells compressed sizes only. Two guesses serve two ends: less
than LEAST it can't take, so a pull that lacks even that is refused; LIKELY is what room is made
for. A pull that still runs out of space later leaves nothing behind.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from hpcbox.errors import StoreFull
from hpcbox.image.manifest import Descriptor
from hpcbox.image.progress import size_text
from hpcbox.store import collect, inventory

# Of a compressed layer's bytes: squashfs packs better than gzip, rarely by more than a quarter;
# an unpacked tree or tar is usually two to three times as large.
_LEAST_OF_PACKED = 0.75
_LIKELY_OF_PACKED = 3.0
# Of a tar's bytes: the form may be compressed, or a tree of small files with half-empty blocks.
_LEAST_OF_TAR = 0.2
_LIKELY_OF_TAR = 1.2


@dataclass(frozen=True, slots=True)
class Marks:
    """How full a store may become.

    Attributes:
        maximum_bytes: what the store's layers may take together; 0: as much as there is.
        high_percent: of the file system, and of maximum_bytes: a pull that would come above makes
            room first.
        low_percent: down to which unused images are removed then.
    """

    maximum_bytes: int = 0
    high_percent: int = 100
    low_percent: int = 95


@dataclass(frozen=True, slots=True)
class Level:
    """A file system or a store's own limit, and how far it is used.

    Attributes:
        used_bytes: now.
        total_bytes: at most.
    """

    used_bytes: int
    total_bytes: int

    @property
    def free_bytes(self) -> int:
        """What can still be written."""
        return max(self.total_bytes - self.used_bytes, 0)

    def excess(self, coming_bytes: int, marks: Marks) -> int:
        """Return how many bytes have to go so that what comes stays below the marks; 0 if none."""
        after = self.used_bytes + coming_bytes
        if after <= self.total_bytes * marks.high_percent // 100:
            return 0
        low = min(marks.low_percent, marks.high_percent)
        return max(after - self.total_bytes * low // 100, 0)


def needed(descriptors: Iterable[Descriptor]) -> tuple[int, int]:
    """Return the least and the likely bytes on disk of layers that have to come."""
    least = likely = 0.0
    for descriptor in descriptors:
        packed = descriptor.media_type.endswith(("gzip", "zstd"))
        least += descriptor.size_bytes * (_LEAST_OF_PACKED if packed else _LEAST_OF_TAR)
        likely += descriptor.size_bytes * (_LIKELY_OF_PACKED if packed else _LIKELY_OF_TAR)
    return int(least), int(likely)


def levels(store: str, marks: Marks) -> list[Level]:
    """Return the levels that bound a store: its file system's, and its own if it has one.

    Raises:
        StoreError, OSError: the store can't be read.
    """
    status = os.statvfs(store)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    found = [Level(used, used + status.f_bavail * status.f_frsize)]
    if marks.maximum_bytes:
        stored = sum(inventory.read(store).layer_bytes.values())
        found.append(Level(stored, marks.maximum_bytes))
    return found


def excess(store: str, coming_bytes: int, marks: Marks) -> int:
    """Return how many bytes have to go before so many come; 0 if none."""
    return max(level.excess(coming_bytes, marks) for level in levels(store, marks))


def make_room(
    store: str,
    descriptors: Iterable[Descriptor],
    marks: Marks,
    clearing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """See to it that layers which have to come fit, by removing images that nothing uses.

    Images and layers that a lease protects stay; so the caller holds one for what it needs.
    `clearing` is entered while things are removed.

    Raises:
        StoreFull: they can't fit.
        OSError: the store can't be read or written.
    """
    least, likely = needed(descriptors)
    too_much = excess(store, likely, marks)
    if too_much:
        with clearing():
            collect.collect(store, collect.to_free(too_much))
    free = min(level.free_bytes for level in levels(store, marks))
    if least > free:
        raise StoreFull(
            f"cannot pull an image: no space for it in store {store}: it takes {size_text(least)}"
            f" at least, {size_text(likely)} likely, and {size_text(free)} are left",
            hint="free space with 'hpcbox gc --all-unused', or set another place: HPCBOX_STORE",
        )

"""Leases: which layers running steps and pulls use. A lease ends with the process it names."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from hpcbox.store.images import process_start


@dataclass(frozen=True, slots=True)
class Lease:
    """A living lease.

    Attributes:
        name: `JOB.STEP.NODEPID`, or `pull.PID.…` for a pull that is under way.
        image: digest of the image, as `sha256:HEX`.
        layers: names of the layers it protects.
    """

    name: str
    image: str
    layers: tuple[str, ...]


def living(store: str) -> Iterator[Lease]:
    """Yield the leases whose owners live; remove the files of the others.

    To be called with the store's lock held exclusively.

    Raises:
        OSError: the store can't be read or written.
    """
    for name in sorted(os.listdir(f"{store}/leases")):
        path = f"{store}/leases/{name}"
        try:
            with open(path, encoding="utf-8") as file:
                table = json.load(file)
            owner, started = int(table["owner_pid"]), int(table["owner_start"])
            lease = Lease(name, str(table["image"]), tuple(map(str, table["layers"])))
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            # Cut short by a full disk: its writer failed then, so nobody counts on it.
            os.unlink(path)
            continue
        if process_start(owner) == started:
            yield lease
        else:
            os.unlink(path)

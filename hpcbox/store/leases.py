"""Leases: which layers running steps and pulls use. A lease ends with the process it names."""

import json
import os
from dataclasses import dataclass

from hpcbox.store.images import boot_id, owner_lives


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

    def holder(self) -> str:
        """Return who it is, for people: `job 17.0`, `pull 4711`."""
        job, _, rest = self.name.partition(".")
        step = rest.partition(".")[0]
        if job == "run":
            return f"hpcbox run {rest.rpartition('.')[2]}"
        return f"pull {step}" if job == "pull" else f"job {job}.{step}"


def listed(store: str) -> tuple[tuple[Lease, ...], tuple[str, ...]]:
    """Return the leases whose owners live, and the names of the others.

    The latter may be removed only while the store's lock is held exclusively: one that can't be
    read may be in the middle of being written.

    Raises:
        OSError: the store can't be read.
    """
    living: list[Lease] = []
    ended: list[str] = []
    boot = boot_id()
    for name in sorted(os.listdir(f"{store}/leases")):
        try:
            with open(f"{store}/leases/{name}", encoding="utf-8") as file:
                table = json.load(file)
            lease = Lease(name, str(table["image"]), tuple(map(str, table["layers"])))
            lives = owner_lives(table, boot)
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            # Cut short by a full disk: its writer failed then, so nobody counts on it.
            ended.append(name)
            continue
        if lives:
            living.append(lease)
        else:
            ended.append(name)
    return tuple(living), tuple(ended)

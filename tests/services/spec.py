"""What a lab is made of: names, addresses, places. Values only, no action."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.services.failure import LabError

CONTROLLER = "ctl"
CONTROLLER_ADDRESS = "10.77.0.1"
REGISTRY_PORT = 5000
REGISTRY = f"{CONTROLLER_ADDRESS}:{REGISTRY_PORT}"
MAX_NODES = 200
PROFILES = ("exact", "wide")

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = Path(__file__).resolve().parent / "conf"
PROGRAMS = Path(__file__).resolve().parent / "programs"


def cache_root() -> Path:
    """Where everything the lab keeps lives: images, installations, keys, state of running labs.

    HPCBOX_LAB_CACHE, else ~/.cache/hpcbox-lab. One tree, so that removing it removes all.
    """
    chosen = os.environ.get("HPCBOX_LAB_CACHE")
    return Path(chosen).resolve() if chosen else Path.home() / ".cache" / "hpcbox-lab"


def state_root() -> Path:
    """The folder with one sub-folder per lab that is up."""
    return cache_root() / "labs"


@dataclass(frozen=True, slots=True)
class LabSpec:
    """All that the lab's first process has to know.

    Attributes:
        name: the id that every cgroup, state folder and log of this lab carries.
        nodes: how many nodes, n1 … nN.
        profile: "exact" (2 CPUs per node, tasks bound) or "wide" (16 CPUs per node, unbound).
        plugin_missing_on: machines whose plugstack.conf lacks the line of hpcbox's plugin.
        database: run MariaDB and slurmdbd as well.
        slurmd_seccomp: user namespaces can't be made below slurmd.
        state: this lab's folder.
        installation: tree to show at /opt/hpcbox, or None without one.
        settings: the compiled settings that belong to it, or None.
        shim: hpcbox.so, hpcbox's Slurm plugin, or None.
        registry_storage: cached images; the lab's registry sees a private copy-on-write view.
    """

    name: str
    nodes: int
    profile: str
    plugin_missing_on: tuple[str, ...]
    database: bool
    slurmd_seccomp: bool
    state: Path
    installation: Path | None
    settings: Path | None
    shim: Path | None
    registry_storage: Path

    @property
    def node_names(self) -> tuple[str, ...]:
        """The nodes' names in order: n1, n2, …."""
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    @property
    def machines(self) -> tuple[str, ...]:
        """The controller and the nodes."""
        return (CONTROLLER, *self.node_names)

    def address(self, machine: str) -> str:
        """A machine's address inside the lab's network."""
        if machine == CONTROLLER:
            return CONTROLLER_ADDRESS
        return f"10.77.0.{10 + int(machine[1:])}"

    def to_json(self) -> str:
        """The wire form that from_json reads."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> LabSpec:
        """Read what to_json wrote."""
        fields = json.loads(text)
        for name in ("state", "registry_storage", "installation", "settings", "shim"):
            fields[name] = fields[name] and Path(fields[name])
        fields["plugin_missing_on"] = tuple(fields["plugin_missing_on"])
        return cls(**fields)


def check_name(name: str) -> str:
    """Return the id of a lab if it is usable as a file, cgroup and host name part.

    Raises:
        LabError: it isn't.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,20}", name):
        raise LabError(f"{name!r} can't be a lab's id — use a-z, 0-9 and -, at most 21 characters")
    return name

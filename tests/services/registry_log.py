"""What the lab's registry was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.services.slurm import Cluster

# Apache's combined log format, which docker-registry writes between its own lines.
_LINE = re.compile(
    r'^(?P<client>\S+) - \S+ \[[^]]+\] "(?P<method>\S+) (?P<path>\S+) [^"]*" (?P<status>\d+)'
)


def requests(cluster: Cluster) -> list[str]:
    """All requests since the lab is up, in order of their end: "METHOD PATH STATUS"."""
    text = cluster.file("ctl", "/var/log/registry.log").read_text(encoding="utf-8")
    matches = (_LINE.match(line) for line in text.splitlines())
    return [f"{one['method']} {one['path']} {one['status']}" for one in matches if one]

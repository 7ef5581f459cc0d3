"""Calls the launcher as a verb does, from a plan in JSON: python3 -c SCRIPT JSON."""

from __future__ import annotations

import json

SCRIPT = """
import json, os, sys
from hpcbox.errors import HpcboxError
from hpcbox.ranks.launch import run
from hpcbox.ranks.plan import ContainerOptions, LaunchPlan
from hpcbox.settings import load
table = json.loads(sys.argv[1])
container = ContainerOptions(**table.pop("container", {}))
for name in ("nodes", "command"):
    table[name] = tuple(table[name])
plan = LaunchPlan(
    **{"environment": dict(os.environ), "cwd": os.getcwd(), "container": container, **table}
)
try:
    sys.exit(run(plan, load()))
except HpcboxError as error:
    print(f"hpcbox: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
except KeyboardInterrupt:
    sys.exit(130)
"""


def words(command: list[str], *, python: str, **plan: object) -> list[str]:
    """Return the words that launch a command; `plan` has LaunchPlan's other fields."""
    table = {"job": "7", "step": "ssh0", "nodes": ["n1"], "tasks": 1, **plan, "command": command}
    return [python, "-c", SCRIPT, json.dumps(table)]

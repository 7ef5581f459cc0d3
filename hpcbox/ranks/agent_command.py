"""The command that starts an agent: this interpreter and this hpcbox, at the same paths there."""

import shlex
import sys
from pathlib import Path

import hpcbox

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from hpcbox.ranks.agent import main; main()"


def words() -> list[str]:
    """Return program and arguments."""
    prefix = Path(hpcbox.__file__).resolve().parents[1]
    return [sys.executable, "-I", "-S", "-c", _BOOT, str(prefix)]


def remote_line() -> str:
    """Return the same as a login shell takes it; no shell stays in between."""
    return f"exec {shlex.join(words())}"

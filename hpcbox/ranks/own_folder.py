"""A folder of the agent's own on its node, for the FIFOs that ranks write to.

It lies in the user's private folder below /tmp, carries the agent's pid, and goes with the agent;
what an agent that was killed has left, the user's next one sweeps. Loaded on nodes.
"""

import os

from hpcbox.errors import AgentFailed
from hpcbox.ranks import folder as step_folder


def make(name: str) -> str:
    """Return the path of a new folder, private to the user.

    Raises:
        AgentFailed: /tmp doesn't take it.
    """
    try:
        base = f"{step_folder.private_folder(os.geteuid())}/run"
        os.makedirs(base, 0o700, exist_ok=True)
        _sweep(base)
        path = f"{base}/{name}.{os.getpid()}"
        os.mkdir(path, 0o700)
    except OSError as error:
        raise AgentFailed(f"cannot make a folder below /tmp: {error.strerror}") from error
    return path


def remove(path: str) -> None:
    """Remove a folder and the files in it; what others hold open goes with them."""
    try:
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        os.rmdir(path)
    except OSError:
        # The next agent sweeps.
        return


def _sweep(base: str) -> None:
    for name in os.listdir(base):
        pid = name.rpartition(".")[2]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            remove(f"{base}/{name}")

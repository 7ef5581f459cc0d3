"""The few ways text looks: the terminal's own sixteen colours and attributes, nothing else.

Every meaning that a colour carries is also a letter, sign or attribute, so that nothing is lost
without colours (NO_COLOR, https://no-color.org) or to an eye that can't tell them apart.
"""

from rich.style import Style

PLAIN = Style()
DIM = Style(dim=True)
BOLD = Style(bold=True)
TITLE = Style(bold=True, underline=True)
CURSOR = Style(reverse=True)
BAR = Style(reverse=True)
GOOD = Style(color="green")
BUSY = Style(color="cyan")
WAITING = Style(color="yellow")
BAD = Style(color="red", bold=True)
MATCH = Style(color="yellow", bold=True, reverse=True)
MARKED = Style(color="magenta", bold=True)

# Slurm's states; unknown ones are plain.
STATES = {
    "RUNNING": GOOD,
    "COMPLETING": BUSY,
    "CONFIGURING": BUSY,
    "STAGE_OUT": BUSY,
    "SUSPENDED": WAITING,
    "PENDING": WAITING,
    "COMPLETED": DIM,
    "CANCELLED": DIM,
    "FAILED": BAD,
    "NODE_FAIL": BAD,
    "BOOT_FAIL": BAD,
    "OUT_OF_MEMORY": BAD,
    "TIMEOUT": BAD,
    "DEADLINE": BAD,
    "PREEMPTED": BAD,
}

# States of a step's nodes.
NODE_STATES = {
    "preparing": BUSY,
    "pulling": BUSY,
    "ready": GOOD,
    "failed": BAD,
    "ended": DIM,
}

# What squeue prints as compact state (squeue(1), JOB STATE CODES).
SHORT_STATES = {
    "BOOT_FAIL": "BF",
    "CANCELLED": "CA",
    "COMPLETED": "CD",
    "COMPLETING": "CG",
    "CONFIGURING": "CF",
    "DEADLINE": "DL",
    "FAILED": "F",
    "NODE_FAIL": "NF",
    "OUT_OF_MEMORY": "OOM",
    "PENDING": "PD",
    "PREEMPTED": "PR",
    "REVOKED": "RV",
    "RUNNING": "R",
    "STAGE_OUT": "SO",
    "STOPPED": "ST",
    "SUSPENDED": "S",
    "TIMEOUT": "TO",
}


def short_state(state: str) -> str:
    """Return Slurm's compact form of a state; an unknown one as it is."""
    return SHORT_STATES.get(state, state)

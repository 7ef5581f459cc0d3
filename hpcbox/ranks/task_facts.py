"""What a task under slurmstepd says of itself: its words and variables, as the plugin sends them.

The file holds strings, a NUL after each: the number of words, the words, then NAME=VALUE for each
variable (spank/output.c writes it).
Loaded on nodes: standard library only.
"""

import os
import pwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hpcbox.ranks.folder import StepValue

# A command line and an environment have at most a quarter of the stack's 8 MiB (execve(2)).
_MAX_BYTES = 2**21


class TaskFacts:
    """The words and variables of one task.

    Attributes:
        command: its command line.
        variables: by name.

    Raises:
        ValueError: the file isn't one of the plugin's.
    """

    __slots__ = ("command", "variables")

    def __init__(self, file: int) -> None:
        text = os.pread(file, _MAX_BYTES, 0).decode("utf-8", "surrogateescape")
        count, *strings = text.split("\0")[:-1]
        self.command = strings[: int(count)]
        pairs = (string.partition("=") for string in strings[int(count) :])
        self.variables = {name: value for name, _, value in pairs}

    @property
    def cluster(self) -> str:
        """The cluster's name, "" when Slurm doesn't say."""
        return self.variables.get("SLURM_CLUSTER_NAME", "").replace("/", "_")

    @property
    def tasks(self) -> int:
        """How many tasks the step has; 1 when Slurm doesn't say."""
        text = self.variables.get("SLURM_STEP_NUM_TASKS") or self.variables.get("SLURM_NTASKS", "")
        return int(text) if text.isdigit() else 1

    def home(self) -> str:
        """Return the user's home directory."""
        return self.variables.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir

    def step_fields(self) -> "dict[str, StepValue]":
        """Return what step.json says of the step and a task knows; see layout.py."""
        get = self.variables.get
        return {
            "cluster": self.cluster,
            "user": get("SLURM_JOB_USER", ""),
            "command": self.command,
            "image": get("HPCBOX_IMAGE", ""),
            "digest": get("HPCBOX_IMAGE_DIGEST", ""),
            "tasks": self.tasks,
            "node_list": get("SLURM_STEP_NODELIST") or get("SLURM_JOB_NODELIST", ""),
        }

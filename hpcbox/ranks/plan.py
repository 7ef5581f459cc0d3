"""What one launch without srun is to do, as a frozen value; who decides it is the verbs' business.

`hpcbox.ranks.launch.run(plan)` executes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# How ranks find each other: by the image's own MPI (auto looks which), by hydra of the MPICH
# family, by variables alone (RANK, WORLD_SIZE, MASTER_ADDR, …), or not at all.
MPI_KINDS = ("auto", "hydra", "env", "none")


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """The user's --container-* values as text; request/wire.py says what each holds.

    Attributes:
        mounts: --container-mounts, "" if absent.
        workdir: --container-workdir, "" if absent.
        env: --container-env, "" if absent.
    """

    mounts: str = ""
    workdir: str = ""
    env: str = ""


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Ranks to be started by asyncssh (or on this machine) instead of srun.

    Attributes:
        job: Slurm's job id, or for a launch without Slurm any name of digits, letters, `-`.
        step: what tells this launch from others of the job; Slurm gives none, so `ssh0`, ….
        nodes: the allocation's nodes in its order; ranks are placed on the first ones.
        tasks: number of ranks.
        command: program and arguments of each rank.
        environment: the launcher's environment, from which the ranks' is made.
        cwd: working directory of the ranks on the nodes.
        cluster: Slurm's cluster name, "" when unknown.
        user: name of who launches, "" when unknown.
        tasks_per_node: ranks a node, None to spread them evenly in blocks. Several numbers give
            them node by node, as SLURM_TASKS_PER_NODE does.
        cpus_per_task: CPUs of each rank, told to it in SLURM_CPUS_PER_TASK.
        image: reference as typed, None for ranks on the host.
        digest: `sha256:HEX` of its manifest if it was resolved, else "".
        container: the other container options.
        mpi: one of MPI_KINDS.
        transport: "ssh" or "local"; `local` starts all on this machine, whatever `nodes` has.
        label: put `RANK: ` before each line.
        output: file for the ranks' stdout with srun's patterns (%j job, %s step, %t rank, %N node,
            %% percent), "none", or None for this process's stdout.
        error: the same for stderr; None follows `output` when that is a file.
        input: "all", "none" or a rank's number: who reads this process's stdin. Rank 0 by default.
        time_limit_seconds: end the ranks after this time, None for no limit.
    """

    job: str
    step: str
    nodes: tuple[str, ...]
    tasks: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    cluster: str = ""
    user: str = ""
    tasks_per_node: int | tuple[int, ...] | None = None
    cpus_per_task: int = 1
    image: str | None = None
    digest: str = ""
    container: ContainerOptions = field(default_factory=ContainerOptions)
    mpi: str = "auto"
    transport: str = "ssh"
    label: bool = False
    output: str | None = None
    error: str | None = None
    input: str = "0"
    time_limit_seconds: float | None = None

"""What Slurm says of jobs, steps and nodes, as frozen values; pure, no query.

Unknown states and reasons are kept as Slurm wrote them: a newer Slurm never breaks a reader.
"""

from dataclasses import dataclass

# Slurm's base states that end a job, as squeue(1) and sacct(1) write them.
ENDED = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    )
)


@dataclass(frozen=True, slots=True)
class Job:
    """One line of the queue: a job, an array's task, or the folded pending rest of an array.

    Attributes:
        key: what scancel(1) takes: "12", "12_3", "12_[4-20]", "12+1".
        job_id: the number of the array or job ("12" of all of those).
        name, user, account, partition, qos: as Slurm has them, untrusted text.
        state: long form, e.g. RUNNING, PENDING.
        reason: why it waits or ended, e.g. Resources; "" for none.
        elapsed_seconds: time it has run.
        limit_seconds: time limit, None for unlimited.
        nodes: number of nodes asked for or held.
        cpus: number of CPUs.
        tasks: how many jobs this line stands for (1; the rest of an array has more).
        node_list: compressed, "" while pending.
        submitted, started: seconds since 1970, None when unknown.
        container: image reference of --container, "" for none or when it wasn't asked for.
    """

    key: str
    job_id: int
    name: str
    user: str
    account: str
    partition: str
    qos: str
    state: str
    reason: str
    elapsed_seconds: int
    limit_seconds: int | None
    nodes: int
    cpus: int
    tasks: int
    node_list: str
    submitted: int | None
    started: int | None
    container: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it holds nodes."""
        return self.state in ("RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a job.

    Attributes:
        key: "12.0", "12.batch".
        name: of its command.
        state: long form.
        tasks, nodes: how many.
        node_list: compressed.
        elapsed_seconds: time it has run.
        container: image reference of --container, or "".
    """

    key: str
    name: str
    state: str
    tasks: int
    nodes: int
    node_list: str
    elapsed_seconds: int
    container: str


@dataclass(frozen=True, slots=True)
class JobDetail:
    """All that is known of one job.

    Attributes:
        job: its line in the queue.
        number: its own id, which its folders carry: 15 for element 12_3 of an array.
        work_dir: working directory, "" when unknown.
        stdout, stderr: files of the batch script with Slurm's patterns expanded, "" for none.
        container: image reference of --container, or "".
        command: what was submitted.
        asked: resource → amount asked for, in the order to show ("cpu" → "4", "mem" → "2G").
        used: resource → amount used, where accounting or sstat tells.
        steps: its steps, running ones first.
    """

    job: Job
    number: int
    work_dir: str
    stdout: str
    stderr: str
    container: str
    command: str
    asked: tuple[tuple[str, str], ...]
    used: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue at one moment.

    Attributes:
        jobs: lines as the client ordered them.
        taken_at: seconds since 1970.
        query_seconds: how long the query took.
        cluster: the cluster's name, "" when unknown.
        user: whose jobs were asked for, "" for everybody's.
        skipped: how many lines were left out because they weren't understood.
    """

    jobs: tuple[Job, ...]
    taken_at: float
    query_seconds: float
    cluster: str
    user: str = ""
    skipped: int = 0

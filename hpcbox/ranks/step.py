"""What is known of a step from the folder it leaves behind, as frozen values (see layout.py)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepFacts:
    """A step's step.json; all text is untrusted, and "" or None when the file lacks it.

    Attributes:
        job, step: ids as Slurm prints them.
        cluster: name of the cluster.
        user: who ran it.
        command: program and arguments.
        image: reference as the user gave it.
        digest: of the image.
        tasks: number of ranks, 0 when unknown.
        node_list: compressed.
        launcher: "srun", "ssh" or "local".
        started: seconds since 1970.
    """

    job: str = ""
    step: str = ""
    cluster: str = ""
    user: str = ""
    command: tuple[str, ...] = ()
    image: str = ""
    digest: str = ""
    tasks: int = 0
    node_list: str = ""
    launcher: str = ""
    started: float | None = None


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node of a step at one moment.

    Attributes:
        name: the node's.
        state: "preparing", "pulling", "ready", "failed", "ended", or "" when nothing is known.
        text: what it last said, one line.
        done_bytes, total_bytes: of the pull, 0 when unknown.
        image, digest: what it prepares, "" when unknown.
        changed: seconds since 1970 of its last event, None without any.
    """

    name: str
    state: str = ""
    text: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    image: str = ""
    digest: str = ""
    changed: float | None = None


@dataclass(frozen=True, slots=True)
class RankView:
    """A rank at one moment.

    Attributes:
        rank: its number.
        node: where it runs, "" when unknown.
        state: "waiting" (nothing heard), "started", "exited" or "lost".
        pid: on its node, 0 when unknown.
        code: exit code, None while it runs or after a signal.
        signal: number of the signal that ended it, None otherwise.
        out_bytes, err_bytes: length of its files.
        written: seconds since 1970 of its last output, None when it has printed nothing.
        changed: seconds since 1970 when it took its state, None when unknown.
    """

    rank: int
    node: str = ""
    state: str = "waiting"
    pid: int = 0
    code: int | None = None
    signal: int | None = None
    out_bytes: int = 0
    err_bytes: int = 0
    written: float | None = None
    changed: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it will print no more."""
        return self.state in ("exited", "lost")

    @property
    def has_failed(self) -> bool:
        """Whether it ended, and not with exit code 0."""
        return self.has_ended and self.code != 0


@dataclass(frozen=True, slots=True)
class StepView:
    """A step at one moment.

    Attributes:
        folder: where its files are.
        facts: what step.json says.
        nodes: by name.
        ranks: by number; those not heard of are there too when the number of tasks is known.
        problems: lines for the user, oldest first (the newest 100).
        has_ended: whether all its nodes, or all its ranks, have ended.
    """

    folder: str
    facts: StepFacts
    nodes: tuple[NodeView, ...]
    ranks: tuple[RankView, ...]
    problems: tuple[str, ...]
    has_ended: bool

"""What the launcher tells a node's agent to do: one ORDER frame.

Loaded on nodes: standard library only.
"""

from hpcbox.errors import AgentFailed

# Ways to launch that an agent can report or be told: see plan.MPI_KINDS.
_TEXTS = (
    "job",
    "step",
    "cluster",
    "user",
    "node",
    "transport",
    "cwd",
    "submit_dir",
    "image",
    "digest",
    "mounts",
    "workdir",
    "env",
    "mpi",
    "store",
    "run",
)
_NUMBERS = (
    "node_index",
    "first_rank",
    "count",
    "tasks",
    "cpus_per_task",
    "upper_bytes",
    "forward",
    "reader",
)
_LISTS = ("nodes", "counts", "command", "environment", "site_mounts")
NO_READER = 2**32 - 1


class Order:
    """One node's part of a launch.

    Attributes:
        job, step, cluster, user: whose ranks they are.
        node: this node's name in the launch.
        transport: as in plan.py.
        cwd: working directory.
        submit_dir: a cwd that differs from it was chosen on purpose.
        image: reference, "" for ranks on the host.
        digest: of the image, "" if the launcher couldn't learn it.
        mounts, workdir, env: as request/wire.py has them.
        mpi: plan.MPI_KINDS; after START the way that was chosen.
        master: address of the first node, known at START.
        store: folder of the user's store.
        run: what tells this run from another of the same step (layout.py).
        node_index: this node's number in the launch, from 0.
        first_rank, count: the ranks of this node.
        tasks: ranks of the whole launch.
        cpus_per_task: CPUs of each rank.
        upper_bytes: settings.upper_bytes.
        forward: 1 if the ranks' output is to be sent to the launcher.
        reader: the rank that reads the launcher's stdin, or NO_READER.
        nodes: all nodes of the launch; counts: ranks of each.
        command: program and arguments.
        environment: `NAME=VALUE` of the launcher.
        site_mounts: settings.mounts.
    """

    __slots__ = (*_TEXTS, *_NUMBERS, *_LISTS, "master")

    def __init__(
        self, texts: dict[str, str], numbers: dict[str, int], lists: dict[str, list[str]]
    ) -> None:
        self.job = texts["job"]
        self.step = texts["step"]
        self.cluster = texts["cluster"]
        self.user = texts["user"]
        self.node = texts["node"]
        self.transport = texts["transport"]
        self.cwd = texts["cwd"]
        self.submit_dir = texts["submit_dir"]
        self.image = texts["image"]
        self.digest = texts["digest"]
        self.mounts = texts["mounts"]
        self.workdir = texts["workdir"]
        self.env = texts["env"]
        self.mpi = texts["mpi"]
        self.master = ""
        self.store = texts["store"]
        self.run = texts["run"]
        self.node_index = numbers["node_index"]
        self.first_rank = numbers["first_rank"]
        self.count = numbers["count"]
        self.tasks = numbers["tasks"]
        self.cpus_per_task = numbers["cpus_per_task"]
        self.upper_bytes = numbers["upper_bytes"]
        self.forward = numbers["forward"]
        self.reader = numbers["reader"]
        self.nodes = lists["nodes"]
        self.counts = [int(count) for count in lists["counts"]]
        self.command = lists["command"]
        self.environment = lists["environment"]
        self.site_mounts = lists["site_mounts"]

    @property
    def ranks(self) -> range:
        """The ranks of this node."""
        return range(self.first_rank, self.first_rank + self.count)


def write(texts: dict[str, str], numbers: dict[str, int], lists: dict[str, list[str]]) -> list[str]:
    """Return the texts of an ORDER frame: `NAME=VALUE`, a list's name once for each element."""
    entries = [f"{name}={texts[name]}" for name in _TEXTS]
    entries += [f"{name}={numbers[name]}" for name in _NUMBERS]
    entries += [f"{name}={value}" for name in _LISTS for value in lists[name]]
    return entries


def read(entries: list[str]) -> Order:
    """Return the order of an ORDER frame.

    Raises:
        AgentFailed: it lacks something or has something unknown.
    """
    texts: dict[str, str] = {}
    numbers: dict[str, int] = {}
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    try:
        for entry in entries:
            name, _, value = entry.partition("=")
            if name in lists:
                lists[name].append(value)
            elif name in _NUMBERS:
                numbers[name] = int(value)
            else:
                texts[name] = value
        return Order(texts, numbers, lists)
    except (KeyError, ValueError) as error:
        raise AgentFailed(f"the launcher's order can't be read: {error}") from error

"""What squeue(1) is asked to print, and jobs and steps from what it printed; pure.

Names and containers are any text that a user chose, newlines included. So each record ends, and its
free fields are parted, with a mark that is drawn anew for each query and can't be foreseen.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence

from hpcbox.cluster import texts
from hpcbox.cluster.model import Job, Step
from hpcbox.cluster.node_list import expand
from hpcbox.errors import RequestError

SEPARATOR = "\x1f"
_FIELDS = (
    *("JobArrayID", "UserName", "Account", "Partition", "QOS", "State", "Reason", "TimeUsed"),
    *("TimeLimit", "NumNodes", "NumCPUs", "NodeList", "SubmitTime", "StartTime"),
)
_STEP_FIELDS = ("StepID", "StepState", "NumTasks", "TimeUsed", "Nodes")
# More different texts than this are no vocabulary, and not worth keeping.
_VOCABULARY = 20_000


def job_format(mark: str, extra: Sequence[str] = ()) -> str:
    """Return the --Format of jobs; `extra` free fields come after container and name."""
    return _format(_FIELDS, ("Container", "Name", *extra), mark)


def step_format(mark: str) -> str:
    """Return the --Format of steps (with --steps)."""
    return _format(_STEP_FIELDS, ("Container", "StepName"), mark)


def _format(fields: Sequence[str], free: Sequence[str], mark: str) -> str:
    middle, end = _halves(mark)
    plain = [f"{name}:{SEPARATOR}" for name in fields[:-1]]
    parted = [f"{name}:{middle}" for name in (fields[-1], *free[:-1])]
    return ",".join([*plain, *parted, f"{free[-1]}:{end}"])


def _halves(mark: str) -> tuple[str, str]:
    """What parts free fields, and what ends a record."""
    return mark[: len(mark) // 2], mark[len(mark) // 2 :]


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which Slurm's commands do what their arguments say.

    No filters or prompts of the user's, whole array expressions, times as seconds since 1970.
    """
    own = ("SQUEUE_", "SCANCEL_")
    kept = {name: value for name, value in environment.items() if not name.startswith(own)}
    return kept | {"SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%s"}


class Records:
    """Cuts squeue's output, as it comes, into records of fields."""

    def __init__(self, mark: str, free: int) -> None:
        """Take the mark of the format and how many free fields a record has."""
        middle, end = _halves(mark)
        self._mark = middle.encode()
        self._end = f"{end}\n".encode()
        self._pieces = free + 2
        self._rest = b""

    def feed(self, chunk: bytes) -> list[tuple[bytes, ...]]:
        """Return the records that are whole now: plain fields in one, then each free field."""
        *whole, self._rest = (self._rest + chunk).split(self._end)
        mark, pieces = self._mark, self._pieces - 1
        return [tuple(record.split(mark, pieces)) for record in whole]


class JobParser:
    """Makes jobs of records; a record that was seen in the query before costs no new job."""

    def __init__(self) -> None:
        self._known: dict[int, Job] = {}
        # Of the jobs of this query: a second dictionary of 100,000 would take 9 MB.
        self._keys = array("q")
        self._texts: dict[str, str] = {}
        self._jobs: list[Job] = []
        self._skipped = 0

    def feed(self, records: Sequence[tuple[bytes, ...]]) -> None:
        """Take the next records of a query."""
        for record in records:
            # A hash of 64 bits, keyed by the interpreter, in place of the record: 10 MB less.
            key = hash(record)
            job = self._known.get(key) or parse_job(record, self._word)
            if job is None:
                self._skipped += 1
            else:
                self._keys.append(key)
                self._jobs.append(job)

    def finish(self) -> tuple[tuple[Job, ...], int]:
        """Return the query's jobs and how many records made none; begin a new query."""
        jobs, skipped = tuple(self._jobs), self._skipped
        # Cleared first, so that there is never more than one.
        self._known.clear()
        self._known.update(zip(self._keys, jobs, strict=True))
        self._keys = array("q")
        self._jobs, self._skipped = [], 0
        if len(self._texts) == _VOCABULARY:
            self._texts = {}
        return jobs, skipped

    def _word(self, text: str) -> str:
        """One object for each different text, as far as there is a vocabulary."""
        known = self._texts.get(text)
        if known is None:
            known = texts.plain(text)
            if len(self._texts) < _VOCABULARY:
                self._texts[text] = known
        return known


def parse_job(record: tuple[bytes, ...], word: Callable[[str], str] = texts.plain) -> Job | None:
    """Return the job of a record, or None when it isn't understood.

    Args:
        record: plain fields in one, then container and name.
        word: what a text field becomes; "" where Slurm means nothing.
    """
    head = record[0].decode(errors="replace").rpartition("\n")[2]
    fields = head.split(SEPARATOR)
    if len(fields) != len(_FIELDS) or len(record) < 3:
        return None
    key, user, account, partition, qos, state, reason, used, limit, nodes, cpus = fields[:11]
    node_list, submitted, started = fields[11:]
    job_id = texts.number(key.partition("_")[0].partition("+")[0])
    if not job_id:
        return None
    tasks = 1
    if key.endswith("]"):
        key, tasks = texts.array_key(key)
    return Job(
        key=key,
        job_id=job_id,
        name=word(record[2].decode(errors="replace")),
        user=word(user),
        account=word(account),
        partition=word(partition),
        qos=word(qos),
        state=word(state),
        reason=word(reason),
        elapsed_seconds=texts.duration(used) or 0,
        limit_seconds=texts.duration(limit),
        nodes=texts.number(nodes),
        cpus=texts.number(cpus),
        tasks=tasks,
        node_list=word(node_list),
        submitted=texts.moment(submitted),
        started=texts.moment(started),
        container=word(record[1].decode(errors="replace")),
    )


def parse_step(record: tuple[bytes, ...]) -> Step | None:
    """Return the step of a record, or None when it isn't understood."""
    fields = record[0].decode(errors="replace").rpartition("\n")[2].split(SEPARATOR)
    if len(fields) != len(_STEP_FIELDS) or len(record) < 3 or "." not in fields[0]:
        return None
    key, state, tasks, used, node_list = fields
    try:
        nodes = len(expand(node_list))
    except RequestError:
        nodes = 0
    return Step(
        key=key,
        name=texts.plain(record[2].decode(errors="replace")),
        state=texts.plain(state),
        tasks=texts.number(tasks),
        nodes=nodes,
        node_list=texts.plain(node_list),
        elapsed_seconds=texts.duration(used) or 0,
        container=texts.plain(record[1].decode(errors="replace")),
    )

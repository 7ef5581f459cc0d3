"""The spool process of one step on one node, for ranks that slurmstepd starts.

The node program forks it as the job's user before the container is made: it sees the node's files,
lives in the step's cgroup, and stays until slurmstepd has gone. It hears from three sides:

    node program ─► N  NAME NUL VALUE NUL…, an event of the node (layout.py)
    a task       ─► T  "RANK PID", descriptors: answer, the read ends of its stdout and stderr,
                       where these went before, a file with its words and variables, and its
                       program where that can be read
                    ◄─ K: go on · P TEXT: the output can't be kept, go on without · E TEXT: end
    slurmstepd   ◄─ S: a rank's output is kept here, so that our death is a matter
                 ─► X  "RANK STATUS" (of wait(2)), a descriptor: answer
                    ◄─ K, as soon as all that the rank wrote is on file and passed on; after
                       the last task with our pidfd, as we end then

The folder is made when there is something to put into it: an interactive step never has one.
Nothing here waits for a consumer: see onward.py. Standard library only.
"""

import os
import time

from hpcbox import packets
from hpcbox.errors import RankError, one_line
from hpcbox.kernel import SIGKILL
from hpcbox.ranks import folder, layout, signals
from hpcbox.ranks.onward import Onward
from hpcbox.ranks.poller import Poller
from hpcbox.ranks.spool import Spool
from hpcbox.ranks.task_facts import TaskFacts
from hpcbox.request import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hpcbox.ranks.folder import StepValue

# After the tasks of a node have started: this can wait, they can't.
_DESCRIBE_SECONDS = 0.02
_TAKEN_SECONDS = 0.002
_NUMBERS = frozenset(("done", "total"))
_NUMBER_DIGITS = 20
_OPENING_STATES = frozenset(("pulling", "failed"))


class Place:
    """Which step, and where.

    Attributes:
        job: its id as Slurm prints it.
        step: its id.
        node: Slurm's name of this node.
        tasks: of this step, on this node.
    """

    __slots__ = ("job", "node", "step", "tasks")

    def __init__(self, job: str, step: str, node: str, tasks: int) -> None:
        self.job = job
        self.step = step
        self.node = node
        self.tasks = tasks


def serve(
    node_program: packets.Socket,
    channel: packets.Socket,
    request_bytes: bytes,
    place: Place,
    *,
    umask: int,
) -> None:
    """Keep the output of a step's ranks until slurmstepd and its tasks have let go of `channel`.

    Args:
        node_program: tells the events of the node.
        channel: from slurmstepd and its tasks.
        request_bytes: what the plugin asked for.
        place: which step this is.
        umask: the job's, for the files.

    Raises:
        RequestError: the request can't be read.
    """
    # Signals are for the ranks.
    signals.block_all()
    _spread()
    os.umask(umask)
    _StepSpool(node_program, channel, place, wire.read(request_bytes)).run()


def _spread() -> None:
    """Leave the first task's CPUs for all of the step's, if a cpuset says which these are."""
    own = os.sched_getaffinity(0)
    everything = set(range(os.cpu_count() or 1))
    try:
        os.sched_setaffinity(0, everything)
        if os.sched_getaffinity(0) == everything:
            os.sched_setaffinity(0, own)
    except OSError:
        return  # a sandbox forbids it: the first task's CPUs will do


class _StepSpool:
    def __init__(
        self,
        node_program: packets.Socket,
        channel: packets.Socket,
        place: Place,
        request: wire.ContainerRequest,
    ) -> None:
        self._place = place
        self._request = request
        self._started = time.time()
        self._poller = Poller()
        self._onward = Onward(self._poller, self._check)
        self._spool: Spool | None = None
        self._folder = ""
        self._refusal = ""
        self._early: list[dict[str, str | int]] = [
            {"state": "preparing", "image": request.image, "digest": request.digest}
        ]
        self._first_facts: TaskFacts | None = None
        # Of each rank that has ended: its status and who waits for its bytes.
        self._leaving: dict[int, tuple[int, int]] = {}
        self._settled: set[int] = set()
        self._looking: set[int] = set()
        # Ranks whose output is kept here, and the processes of those that run.
        self._streams: list[int] = []
        self._pids: dict[int, int] = {}
        # Of the whole step, as the first task says; and why it would be alone.
        self._tasks = 0
        self._alone = ""
        self._left = place.tasks
        self._open = True
        self._node_program = node_program
        self._channel = channel
        self._poller.watch(node_program.fileno(), lambda _events: self._hear_node_program())
        self._poller.watch(channel.fileno(), lambda _events: self._hear_step())

    def run(self) -> None:
        while self._open:
            self._poller.turn()
        if self._spool is not None:
            for rank in self._streams:
                self._spool.end(rank)
            self._spool.close()

    def _hear_node_program(self) -> None:
        packet = packets.receive(self._node_program)
        if packet is None or packet.kind != b"N":
            self._poller.forget(self._node_program.fileno())
            return
        words = packet.payload.decode("utf-8", "replace").split("\0")
        fields: dict[str, str | int] = {}
        for name, value in zip(words[::2], words[1::2], strict=False):
            is_number = name in _NUMBERS and len(value) <= _NUMBER_DIGITS and value.isdecimal()
            fields[name] = int(value) if is_number else value
        if self._spool is None and fields.get("state") in _OPENING_STATES:
            self._open_spool()
        self._node_event(fields)

    def _node_event(self, fields: "dict[str, str | int]") -> None:
        if self._spool is None:
            self._early.append(fields)
        else:
            self._spool.event("node", fields)

    def _hear_step(self) -> None:
        packet = packets.receive(self._channel)
        if packet is None:
            self._open = False
            return
        try:
            first, second = (int(word) for word in packet.payload.split())
            if packet.kind == b"T" and len(packet.descriptors) in (6, 7):
                self._enlist(first, second, packet.descriptors)
            elif packet.kind == b"X" and len(packet.descriptors) == 1:
                self._rank_ended(first, second, packet.descriptors[0])
        except ValueError:
            # Whoever waits for an answer hears its end.
            for descriptor in packet.descriptors:
                os.close(descriptor)

    def _open_spool(self) -> None:
        """Make the folder and the files of this node; `_refusal` tells why not."""
        if self._spool is not None or self._refusal:
            return
        node = self._place.node
        try:
            self._folder = folder.open_folder(
                self._request.cwd, self._place.job, self._place.step, self._request.run
            )
            spool = Spool(
                self._folder,
                node,
                self._poller,
                wrote=self._wrote,
                problem=self._tell,
                onward=self._onward.direct,
            )
        except RankError as error:
            self._refusal = str(error)
            return
        except OSError as error:
            self._refusal = f"cannot keep the step's output in {self._folder}: {error.strerror}"
            return
        self._spool = self._onward.spool = spool
        for fields in self._early:
            spool.event("node", fields)

    def _enlist(self, rank: int, pid: int, descriptors: list[int]) -> None:
        answer, out, err, out_target, err_target = descriptors[:5]
        # Of all tasks the first tells whether the program is right, and rank 0 what the step is.
        facts = TaskFacts(descriptors[5]) if rank == 0 or self._tasks == 0 else None
        if facts is not None and self._tasks == 0:
            self._tasks = facts.tasks
            self._alone = self._look_at_program(facts, descriptors[6:])
        for descriptor in descriptors[5:]:
            os.close(descriptor)
        if not self._alone:
            self._open_spool()
        if self._spool is None or self._spool.has(rank, layout.OUT) or self._alone:
            text = self._spoken(self._alone or self._refusal)
            _answer(answer, b"E" if self._alone else b"P", text)
            for descriptor in descriptors[1:5]:
                os.close(descriptor)
            return
        if not self._streams:
            packets.send(self._channel, b"S")
            self._look_later(rank)
        self._streams.append(rank)
        self._pids[rank] = pid
        for stream, source, target in (
            (layout.OUT, out, out_target),
            (layout.ERR, err, err_target),
        ):
            self._onward.add(rank, stream, target)
            self._spool.add(rank, stream, source)
        _answer(answer, b"K")
        self._spool.event("rank", {"rank": rank, "state": "started", "pid": pid})
        if rank == 0:
            self._first_facts = facts
            self._poller.call_later(_DESCRIBE_SECONDS, self._describe)

    def _look_at_program(self, facts: TaskFacts, programs: list[int]) -> str:
        """Explain why the tasks would each be alone; all of a step run the same program."""
        if self._tasks == 1 or not programs:
            return ""
        from hpcbox.ranks import singletons  # noqa: PLC0415 - a step of one task doesn't pay for it

        return singletons.of_program(programs[0], facts.variables, self._tasks) or ""

    def _look_later(self, rank: int) -> None:
        """Watch one rank for the node: the others run the same."""
        if self._tasks == 1:
            return
        from hpcbox.ranks import singletons  # noqa: PLC0415 - as above

        after = iter(singletons.LOOKS_SECONDS)

        def look() -> None:
            pid = self._pids.get(rank)
            text = None if pid is None else singletons.of_task(pid, self._tasks)
            if text is not None:
                self._end_tasks(rank, text)
            elif pid is not None:
                for seconds in after:
                    self._poller.call_later(seconds, look)
                    break

        self._poller.call_later(next(after), look)

    def _end_tasks(self, rank: int, text: str) -> None:
        if self._spool is not None:
            self._spool.event("problem", {"text": text})
        self._onward.direct(rank, layout.ERR, self._spoken(text) + b"\n")
        for pid in self._pids.values():
            try:
                os.kill(pid, SIGKILL)
            except OSError:
                continue  # it has ended meanwhile

    def _describe(self) -> None:
        """Write what the step is and where it can be found; this node has rank 0."""
        facts, self._first_facts = self._first_facts, None
        if facts is None or self._spool is None:
            return
        place = self._place
        fields: dict[str, StepValue] = {
            **facts.step_fields(),
            "job": place.job,
            "step": place.step,
            "launcher": "srun",
            "started": self._started,
        }
        try:
            folder.write_step(self._folder, fields)
            folder.register(facts.home(), facts.cluster, place.job, place.step, self._folder)
        except OSError as error:
            where = error.filename or self._folder
            self._spool.event("problem", {"text": f"cannot write {where}: {error.strerror}"})

    def _wrote(self, rank: int, stream: int) -> None:
        self._onward.wrote(rank, stream)
        self._check(rank)

    def _rank_ended(self, rank: int, status: int, answer: int) -> None:
        self._describe()
        self._pids.pop(rank, None)
        self._leaving[rank] = (status, answer)
        if self._spool is not None:
            self._spool.end(rank)
        self._check(rank)

    def _check(self, rank: int) -> None:
        """Let a rank go that has ended and whose bytes are where they belong."""
        if rank not in self._leaving:
            return
        spool = self._spool
        if spool is not None:
            if rank not in self._settled and spool.is_drained(rank):
                self._settled.add(rank)
                self._onward.settle(rank)
            if rank not in self._settled:
                return
            if not self._onward.is_done(rank):
                self._check_later(rank)
                return
        status, answer = self._leaving.pop(rank)
        self._left -= 1
        if spool is not None:
            spool.event("rank", {"rank": rank, "state": "exited", **_how(status)})
            if self._left == 0:
                spool.event("node", {"state": "ended"})
            spool.flush()
        if self._left > 0:
            _answer(answer, b"K")
        else:
            # Then slurmstepd kills what is left of the step, and is slow when it finds something.
            self._open = False
            _answer(answer, b"K", b"", (os.pidfd_open(os.getpid()),))

    def _check_later(self, rank: int) -> None:
        """Look again whether slurmstepd has read its pipe: nothing tells us."""
        if rank in self._looking:
            return
        self._looking.add(rank)

        def look() -> None:
            self._looking.discard(rank)
            self._check(rank)

        self._poller.call_later(_TAKEN_SECONDS, look)

    def _tell(self, text: str) -> None:
        """Say something where the user sees it: on the stderr of a rank of this node."""
        for rank in self._streams[:1]:
            self._onward.direct(rank, layout.ERR, self._spoken(text) + b"\n")

    def _spoken(self, text: str) -> bytes:
        return f"hpcbox: {self._place.node}: {one_line(text)}".encode()


def _how(status: int) -> "dict[str, str | int]":
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"code": os.WEXITSTATUS(status)}


def _answer(
    descriptor: int, kind: bytes, text: bytes = b"", descriptors: tuple[int, ...] = ()
) -> None:
    socket = packets.adopt(descriptor)
    try:
        packets.send(socket, kind, text, descriptors)
    except OSError:
        return  # whoever asked has ended meanwhile
    finally:
        socket.close()

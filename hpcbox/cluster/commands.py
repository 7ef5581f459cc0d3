"""The client that runs Slurm's commands: squeue(1), scontrol(1), scancel(1), sstat(1)."""

import contextlib
import os
import pwd
import re
import secrets
import string
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from hpcbox import processes
from hpcbox.cluster import squeue, texts
from hpcbox.cluster.client import Cancelled, Wanted, check_key
from hpcbox.cluster.log_paths import batch_path
from hpcbox.cluster.model import Job, JobDetail, Queue, Step
from hpcbox.cluster.node_list import expand
from hpcbox.cluster.usage import used_by
from hpcbox.errors import ClusterError, NoAllocation, RequestError, SlurmUnavailable, shorten

TIMEOUT_SECONDS = 10.0
# sstat asks every node of the job; what it says is a nicety.
USAGE_TIMEOUT_SECONDS = 3.0
# 100,000 jobs are 14 MB.
QUEUE_LIMIT_BYTES = 2**28
KEYS_AT_ONCE = 500
# What Slurm writes for %a outside of arrays (NO_VAL).
_NO_ELEMENT = str(2**32 - 2)
# squeue ends with status 0 then, as if that user had no jobs.
_UNKNOWN_USER = b"error: Invalid user"
_UNKNOWN_JOB = "Invalid job id specified"
_GONE = (_UNKNOWN_JOB, "already completing or completed")
_REFUSED = re.compile(r"job id (\S+?): (.+)")
_DETAIL_FIELDS = ("WorkDir", "Command", "tres-alloc", "JobID")


class CommandClient:
    """Asks Slurm by its commands, as the account that runs it."""

    def __init__(
        self,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the time limit of each command, the variables they get, and the clock."""
        self._timeout_seconds = timeout_seconds
        self._environment = environment
        self._clock = clock
        self._cluster = environment.get("SLURM_CLUSTER_NAME", "")
        # Two queries at once would share one parser.
        self._lock = threading.Lock()
        self._parser = squeue.JobParser()

    def cluster(self) -> str:
        """Return the cluster's name; asked for once."""
        if not self._cluster:
            config = self._run(["scontrol", "show", "config"]).output.decode(errors="replace")
            match = re.search(r"^ClusterName\s*=\s*(\S+)", config, re.MULTILINE)
            self._cluster = match[1] if match else ""
        return self._cluster

    def queue(self, wanted: Wanted) -> Queue:
        """Return the jobs that are wanted, arrays folded, in squeue's order."""
        cluster = self.cluster()
        begun = time.monotonic()
        with self._lock:
            try:
                self._ask_jobs(_filters(wanted), (), self._parser.feed)
            finally:
                # Also after a failure: what it printed before belongs to no later query.
                jobs, skipped = self._parser.finish()
        return Queue(
            jobs=jobs,
            taken_at=self._clock(),
            query_seconds=time.monotonic() - begun,
            cluster=cluster,
            user=wanted.user or "",
            skipped=skipped,
        )

    def detail(self, job: str) -> JobDetail:
        """Return all that is known of one job, of an array's id: of its first line."""
        records: list[tuple[bytes, ...]] = []
        asked_for = check_key(job).partition("_[")[0]
        filters = [f"--jobs={asked_for}", "--states=all"]
        self._ask_jobs(filters, _DETAIL_FIELDS, records.extend)
        found = {
            parsed.key: (parsed, record)
            for record in records
            if len(record) == 3 + len(_DETAIL_FIELDS)
            and (parsed := squeue.parse_job(record)) is not None
        }
        if not found:
            raise NoAllocation(f"there is no job {job}", hint="it may have ended long ago")
        line, record = found.get(job) or next(iter(found.values()))
        extra = (text.decode(errors="replace") for text in record[3:])
        work_dir, command, amounts, number = extra
        stdout, stderr = self._log_paths(line, number)
        return JobDetail(
            job=line,
            number=texts.number(number),
            work_dir=work_dir,
            stdout=stdout,
            stderr=stderr,
            container=line.container,
            command=texts.plain(command),
            asked=_pairs(amounts),
            used=self._used(line),
            steps=self._steps(line),
        )

    def cancel(self, keys: Sequence[str]) -> Cancelled:
        """Cancel exactly these jobs; see SlurmClient."""
        gone: list[str] = []
        refused: list[str] = []
        for start in range(0, len(keys), KEYS_AT_ONCE):
            # With this variable scancel says which ids are no jobs; without, it says nothing.
            ended = self._execute(
                self.cancel_command(keys[start : start + KEYS_AT_ONCE]), SCANCEL_VERBOSE="true"
            )
            complaints = _REFUSED.findall(ended.errors.decode(errors="replace"))
            for key, reason in complaints:
                if any(text in reason for text in _GONE):
                    gone.append(key)
                else:
                    refused.append(f"job {key}: {reason}")
            if ended.code != 0 and not complaints:
                raise _failed("scancel", ended)
        if refused:
            raise ClusterError(f"scancel refused: {shorten('; '.join(refused))}")
        return Cancelled(sent=tuple(key for key in keys if key not in gone), gone=tuple(gone))

    def cancel_command(self, keys: Sequence[str]) -> list[str]:
        """Return the command line of `cancel`."""
        return ["scancel", *map(check_key, keys)]

    def _ask_jobs(
        self,
        filters: Sequence[str],
        extra: Sequence[str],
        take: Callable[[list[tuple[bytes, ...]]], None],
    ) -> None:
        mark = _new_mark()
        records = squeue.Records(mark, 2 + len(extra))
        self._run(
            ["squeue", "--noheader", *filters, f"--Format={squeue.job_format(mark, extra)}"],
            consume=lambda chunk: take(records.feed(chunk)),
        )

    def _steps(self, job: Job) -> tuple[Step, ...]:
        if not job.is_running:
            return ()
        mark = _new_mark()
        records = squeue.Records(mark, 2)
        words = ["squeue", "--noheader", "--steps", f"--jobs={job.key}"]
        ended = self._run([*words, f"--Format={squeue.step_format(mark)}"])
        found = (squeue.parse_step(record) for record in records.feed(ended.output))
        return tuple(step for step in found if step is not None)

    def _log_paths(self, job: Job, number: str) -> tuple[str, str]:
        """Where the batch script writes; squeue of 22.05 names wrong files for arrays."""
        if job.key.endswith("]"):
            return "", ""
        shown = self._run(["scontrol", "--oneliner", "show", "job", job.key])
        text = shown.output.decode(errors="replace")
        element = job.key.partition("_")[2] or _NO_ELEMENT
        values = {"j": number, "J": number, "A": str(job.job_id), "a": element}
        with contextlib.suppress(RequestError, IndexError):
            values["N"] = expand(job.node_list)[0].partition(".")[0]
        return batch_path(text, "StdOut", values), batch_path(text, "StdErr", values)

    def _used(self, job: Job) -> tuple[tuple[str, str], ...]:
        me = os.geteuid()
        if job.state != "RUNNING" or (me != 0 and job.user != pwd.getpwuid(me).pw_name):
            return ()
        words = ["sstat", "--noheader", "--parsable2", "--allsteps", f"--jobs={job.key}"]
        try:
            ended = processes.run(
                [*words, "--format=NTasks,AveCPU,AveRSS"],
                timeout_seconds=USAGE_TIMEOUT_SECONDS,
                environment=self._environment,
            )
        except OSError:
            return ()
        return used_by(ended.output.decode(errors="replace"), job.elapsed_seconds)

    def _run(
        self, argv: Sequence[str], consume: Callable[[bytes], None] | None = None
    ) -> processes.Ended:
        """Run a command that has to succeed, except that an unknown job is no failure."""
        ended = self._execute(argv, consume)
        has_failed = ended.code != 0 and _UNKNOWN_JOB.encode() not in ended.errors
        if has_failed or _UNKNOWN_USER in ended.errors:
            raise _failed(argv[0], ended)
        return ended

    def _execute(
        self,
        argv: Sequence[str],
        consume: Callable[[bytes], None] | None = None,
        **more: str,
    ) -> processes.Ended:
        try:
            return processes.run(
                argv,
                timeout_seconds=self._timeout_seconds,
                limit_bytes=QUEUE_LIMIT_BYTES,
                environment=squeue.variables(self._environment) | more,
                consume=consume,
            )
        except TimeoutError as error:
            raise SlurmUnavailable(
                f"{argv[0]} failed: {error.strerror}", hint="the controller may be busy: try later"
            ) from error
        except OSError as error:
            raise SlurmUnavailable(
                f"{argv[0]} can't run: {error.strerror}", hint="is Slurm installed, and in PATH?"
            ) from error


def _filters(wanted: Wanted) -> list[str]:
    filters = []
    if wanted.user is not None:
        filters.append(f"--user={wanted.user}")
    if wanted.states:
        filters.append(f"--states={','.join(wanted.states)}")
    if wanted.partitions:
        filters.append(f"--partition={','.join(wanted.partitions)}")
    if wanted.jobs:
        # squeue knows no ranges of an array's elements.
        ids = dict.fromkeys(check_key(key).partition("_[")[0] for key in wanted.jobs)
        filters.append(f"--jobs={','.join(ids)}")
    return filters


def _new_mark() -> str:
    # No digit at its start: squeue would take it for a width.
    return "".join(secrets.choice(string.ascii_letters) for _ in range(20))


def _pairs(amounts: str) -> tuple[tuple[str, str], ...]:
    """Resources and amounts of "cpu=1,mem=200M"."""
    parts = (part.partition("=") for part in amounts.split(","))
    return tuple((name, amount) for name, equals, amount in parts if equals)


def _complaint(ended: processes.Ended) -> str:
    lines = ended.errors.decode(errors="replace").strip().splitlines()
    if not lines:
        return f"it ended with status {ended.code}"
    # What is fatal comes after complaints about details.
    return shorten(next((line for line in lines if "fatal:" in line), lines[0]))


def _failed(command: str, ended: processes.Ended) -> SlurmUnavailable:
    complaint = _complaint(ended)
    prefix = "" if complaint.startswith(command) else f"{command}: "
    return SlurmUnavailable(f"{prefix}{complaint}")

"""What a step leaves on disk: the names and formats that its writers and readers share.

    WORKDIR/hpcbox-JOB.STEP/   another run of the same step: hpcbox-JOB.STEP-2, -3… (see below)
        run                    symlink to nowhere; its text names the run that the folder belongs to
        step.json              the step, written whole by the node that has rank 0
        rank-00003.out, .err   a rank's bytes, raw and complete, append-only
        node-NAME.index        one fixed-size record for each block written on that node, in order
        node-NAME.jsonl        what happened on that node, a JSON object a line (see `events`)

A reader may come at any time: it takes a file's length as the truth, records beyond it don't exist
yet, and a torn last record or line is one that is being written. Times are seconds since 1970 as
the node has them (nanoseconds in the index). The working directory is the step's on the node; where
it can't be written the folder lies below `fallback_folder`, on that node alone.

A requeued job, or a cluster that begins again with job 1, has the same ids a second time: its
bytes never mix with the old ones. Whoever starts a step gives it a run id that all its nodes know;
the first node to need a folder claims the first free name with the symlink `run`, whose creation is
atomic on shared file systems too, and the other nodes find the claim. So the newest run of a step
is the folder with the highest number. Readers find it also by `registry_link`, a symlink in the
user's home that the node with rank 0 sets to the newest run.

step.json: {"version": 1, "job", "step", "cluster", "user", "command": [words], "image", "digest",
"tasks": N, "node_list", "launcher": "srun"|"ssh"|"local", "started": seconds}; texts but for the
named types, "" where unknown.

Events, each with "t" (seconds) and "event":
    node     {"state": "preparing"|"pulling"|"ready"|"failed"|"ended", "text": …, "done": bytes,
              "total": bytes, "image": …, "digest": …}; absent keys mean unchanged or unknown
    rank     {"rank": N, "state": "started"|"exited"|"lost", "pid": …, "code": …, "signal": …}
    problem  {"text": one line for the user}

Loaded on nodes: standard library only, no json, typing or enum.
"""

import os
import struct
from _json import encode_basestring_ascii as quoted

VERSION = 1
OUT, ERR = 1, 2
SUFFIXES = {OUT: "out", ERR: "err"}

# time_ns, offset in the rank's file, length of the block, rank, stream.
RECORD = struct.Struct("<QQIIB7x")

STEP_FILE = "step.json"
RUN_LINK = "run"


def folder_name(job: str, step: str, attempt: int = 1) -> str:
    """Return the name of a step's folder; job and step as Slurm prints them ("12", "0").

    `attempt` counts runs that have the same ids, from 1.
    """
    return f"hpcbox-{job}.{step}" + (f"-{attempt}" if attempt > 1 else "")


def parse_folder_name(name: str) -> tuple[str, str, int] | None:
    """Return (job, step, attempt) of a folder's name, or None when it isn't a step's."""
    ids = name.removeprefix("hpcbox-")
    job, dot, rest = ids.partition(".")
    step, dash, attempt = rest.partition("-")
    if ids == name or not (job and dot and step) or bool(dash) != bool(attempt):
        return None
    if dash and not (attempt.isascii() and attempt.isdigit()):
        return None
    return job, step, int(attempt) if dash else 1


def registry_folder(home: str) -> str:
    """Return the folder of links to the user's steps, below the user's home directory."""
    return f"{home}/.local/state/hpcbox"


def registry_link(home: str, cluster: str, job: str, step: str) -> str:
    """Return the path of the link to a step's folder; a cluster without a name is "local"."""
    return f"{registry_folder(home)}/{cluster or 'local'}/{job}.{step}"


def fallback_folder(uid: int) -> str:
    """Return the node-local folder for steps whose working directory can't be written (0700)."""
    return f"/tmp/hpcbox-{uid}/output"  # noqa: S108 - owner and mode are checked when it is opened


def rank_file(folder: str, rank: int, stream: int) -> str:
    """Return the path of a rank's bytes."""
    return f"{folder}/rank-{rank:05}.{SUFFIXES[stream]}"


def index_file(folder: str, node: str) -> str:
    """Return the path of a node's index."""
    return f"{folder}/node-{node}.index"


def events_file(folder: str, node: str) -> str:
    """Return the path of a node's events."""
    return f"{folder}/node-{node}.jsonl"


def parse_rank_file(name: str) -> tuple[int, int] | None:
    """Return (rank, stream) of a file's name, or None when it isn't a rank's."""
    stem, _, suffix = name.rpartition(".")
    digits = stem.removeprefix("rank-")
    if digits == stem or not digits.isascii() or not digits.isdigit():
        return None
    for stream, known in SUFFIXES.items():
        if suffix == known:
            return int(digits), stream
    return None


def event_line(time_seconds: float, event: str, fields: "dict[str, str | int]") -> bytes:
    """Return one line of a node's events; it is written with a single write(2)."""
    parts = [f'"t":{time_seconds:.6f}', f'"event":{quoted(event)}']
    for name, value in fields.items():
        parts.append(f"{quoted(name)}:{quoted(value) if isinstance(value, str) else int(value)}")
    return ("{" + ",".join(parts) + "}\n").encode("ascii")


def append_event(descriptor: int, line: bytes) -> None:
    """Append a line to an events file that was opened with O_APPEND."""
    os.write(descriptor, line)

"""What a step leaves on disk: the names and formats that its writers and readers share.

    WORKDIR/hpcbox-JOB.STEP/
        step.json              the step, written once by whoever starts its first rank
        rank-00003.out, .err   a rank's bytes, raw and complete, append-only
        node-NAME.index        one fixed-size record for each block written on that node, in order
        node-NAME.jsonl        what happened on that node, a JSON object a line (see `events`)

A reader may come at any time: it takes a file's length as the truth, records beyond it don't exist
yet, and a torn last record or line is one that is being written. Times are seconds since 1970 as
the node has them (nanoseconds in the index). The working directory is the step's on the node; where
it can't be written the folder lies below `fallback_folder`, on that node alone.

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


def folder_name(job: str, step: str) -> str:
    """Return the name of a step's folder; job and step as Slurm prints them ("12", "0")."""
    return f"hpcbox-{job}.{step}"


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

"""A stand-in for squeue: replays a queue of any length that changes every second.

Started as `squeue` by what is measured, with --Format=FIELD:SUFFIX,… in any order and spelling of
fields. Jobs are numbered; a window of REPLAY_JOBS of them moves on by 0.17 % every second: so many
end, start and come, and the tenth that runs has other times. Lines of a format are made once and
kept in REPLAY_FOLDER, so that an answer costs about what the real squeue uses up.
"""

import hashlib
import mmap
import os
import sys
import time

COUNT = int(os.environ["REPLAY_JOBS"])
FOLDER = os.environ["REPLAY_FOLDER"]
START = float(os.environ["REPLAY_START"])
WORK_DIR = os.environ.get("REPLAY_WORK_DIR", "/scratch/alice")
# How many end, start and come each second, and for how many seconds there are jobs.
MOVE = max(1, COUNT // 600)
SECONDS = 1800 if COUNT >= 1000 else 60
RUNNING = COUNT // 10 // MOVE * MOVE
FIRST = 100_000
# Of one length, as lines have to be.
USERS = ("alice", "carol", "chloe", "david", "fiona", "frank", "grace", "heidi", "jacob", "maria")
REASONS = ("Resources", "BeginTime")
ELAPSED = "\x04\x04\x04\x04\x04\x04\x04"


def values(number: int, *, running: bool) -> dict[str, str]:
    """Return what squeue may be asked about a job, by small names."""
    submitted = str(1_790_000_000 + number)
    node = f"n{number % 4000:04}"
    return {
        "jobarrayid": str(number),
        "jobid": str(number),
        "arrayjobid": str(number),
        "arraytaskid": "N/A",
        "username": f"{USERS[number % 10]}{number // 10 % 30:02}",
        "account": f"group{number % 40:02}",
        "partition": ("batch", "debug", "large")[number % 3],
        "qos": "normal",
        "state": "RUNNING" if running else "PENDING",
        "statecompact": "R" if running else "PD",
        "reason": "None" if running else REASONS[number % 2],
        "timeused": ELAPSED if running else "0:00",
        "timelimit": "1-00:00:00",
        "numnodes": f"{1 + number % 64:02}",
        "numcpus": f"{16 * (1 + number % 64):04}",
        "nodelist": node if running else "",
        "submittime": submitted,
        "starttime": submitted if running else "N/A",
        "container": f"10.0.0.1:5000/group{number % 40:02}/train:{number % 8}",
        "name": f"train-{number:07}",
        "tres-alloc": "cpu=16,mem=64G,node=1",
        "stdout": f"{WORK_DIR}/slurm-{number}.out",
        "stderr": f"{WORK_DIR}/slurm-{number}.out",
        "command": f"{WORK_DIR}/train.sh",
        "workdir": WORK_DIR,
    }


def wanted_fields() -> list[tuple[str, str]]:
    """Return name and suffix of each field that was asked for."""
    words = sys.argv[1:]
    for index, word in enumerate(words):
        if word.startswith("--Format"):
            text = word.partition("=")[2] or words[index + 1]
            parts = (field.partition(":") for field in text.split(","))
            return [(name.lower(), suffix) for name, _, suffix in parts]
    raise SystemExit("squeue: error: no --Format")


def line(fields: list[tuple[str, str]], number: int, *, running: bool) -> str:
    """Return a job's line."""
    shown = values(number, running=running)
    return "".join(shown.get(name, "") + suffix for name, suffix in fields) + "\n"


def kept_lines(fields: list[tuple[str, str]], *, running: bool) -> tuple[str, int]:
    """Return the file with the lines of all jobs that ever run or wait, and a line's length."""
    key = hashlib.sha256(repr(fields).encode()).hexdigest()[:16]
    path = f"{FOLDER}/{key}.{'running' if running else 'pending'}"
    size = len(line(fields, FIRST, running=running))
    numbers = range(FIRST, FIRST + COUNT + SECONDS * MOVE)
    if not os.path.exists(path):
        with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
            file.writelines(line(fields, number, running=running) for number in numbers)
        if os.path.getsize(f"{path}.{os.getpid()}") != size * len(numbers):
            raise SystemExit("squeue: error: lines of different lengths")
        os.rename(f"{path}.{os.getpid()}", path)
    return path, size


def chunk(path: str, size: int, first: int, count: int) -> bytes:
    """Return the lines of some jobs; `first` counts from FIRST."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines:
        return lines[first * size : (first + count) * size]


def print_all(fields: list[tuple[str, str]]) -> None:
    """Print the window of now."""
    # Free suffixes are other ones in every query: one byte each stands for them in the files.
    suffixes = list(dict.fromkeys(suffix for _, suffix in fields))
    stored = {suffix: chr(0x10 + index) for index, suffix in enumerate(suffixes)}
    fields = [(name, stored[suffix]) for name, suffix in fields]
    second = min(SECONDS, int(time.time() - START))
    low = second * MOVE

    def printed(data: bytes) -> None:
        for suffix, byte in stored.items():
            data = data.replace(byte.encode(), suffix.encode())
        sys.stdout.buffer.write(data)

    path, size = kept_lines(fields, running=True)
    for begun in range(0, RUNNING, MOVE):
        seconds = 3600 + (RUNNING - begun) // MOVE
        text = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}".encode()
        printed(chunk(path, size, low + begun, MOVE).replace(ELAPSED.encode(), text))
    path, size = kept_lines(fields, running=False)
    printed(chunk(path, size, low + RUNNING, COUNT - RUNNING))


def main() -> None:
    """Print what was asked for."""
    fields = wanted_fields()
    jobs = [word.partition("=")[2] for word in sys.argv if word.startswith("--jobs=")]
    if "--steps" in sys.argv:
        return
    if jobs:
        for number in jobs[0].split(","):
            text = line(fields, int(number), running=True).replace(ELAPSED, "1:00:00")
            sys.stdout.write(text)
    else:
        print_all(fields)


main()

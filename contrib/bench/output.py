"""make bench-output: what keeping the ranks' output costs a step, and whether every byte is there.

A held allocation of four nodes. 16 ranks print 3 MB each through srun, with the spool and without
(--container-output=pass) in turn; 64 ranks print 50 MB each into the spool alone, and every byte is
compared; one rank prints 100 MB/s, or as much of it as it is let. The image is present.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "contrib" / "bench")]

from report import Figure, median, publish  # noqa: E402

from hpcbox.ranks import layout  # noqa: E402
from tests.services.slurm import Cluster  # noqa: E402

ROUNDS = 10
WARM_UP = 1
IMAGE = "10.77.0.1:5000/debian:1"
WORK = "/srv/shared/bench"
MEBIBYTE = 2**20
RATIO_BUDGET = 1.1
PACED_BUDGET = 2.0
# Prints MiB after MiB: 16-byte lines, of which the first tells the rank and the piece. With a
# second argument no faster than that many MiB a second; tells its seconds on stderr.
GENERATOR = """
use Time::HiRes qw(time sleep);
my ($pieces, $rate) = @ARGV;
my $block = join "", map { sprintf("%015d\\n", $_) } 1..65535;
my $start = time;
for my $piece (0..$pieces - 1) {
    sleep($start + $piece / $rate - time) if $rate && time < $start + $piece / $rate;
    my $data = sprintf("%05d %09d\\n", $ENV{SLURM_PROCID}, $piece) . $block;
    for (my $at = 0; $at < length $data;) {
        my $count = syswrite(STDOUT, $data, length($data) - $at, $at) or die "write: $!";
        $at += $count;
    }
}
printf STDERR "%.3f\\n", time - $start;
"""
BLOCK = b"".join(b"%015d\n" % number for number in range(1, 65536))


def step(cluster: Cluster, job: str, *words: str) -> float:
    """Run a step; return its wall seconds."""
    start = time.perf_counter()
    cluster.run(
        ["srun", f"--jobid={job}", "--overlap", f"--container={IMAGE}", *words],
        cwd=WORK,
        check=True,
        timeout_seconds=600,
    )
    return time.perf_counter() - start


def newest(cluster: Cluster) -> Path:
    """The folder of the last step, as this machine sees it."""
    folders = list(cluster.file("ctl", WORK).glob("hpcbox-*"))
    return max(folders, key=lambda folder: folder.stat().st_mtime)


def empty(cluster: Cluster) -> None:
    """Give back the space of the steps so far."""
    cluster.run(["sh", "-c", f"rm -rf {WORK}/hpcbox-* {WORK}/out"], check=True)


def compared(cluster: Cluster, job: str) -> list[Figure]:
    """Print 16 times 3 MB through srun to a file, kept and not kept in turn."""
    words = ["-N4", "-n16", "--output=out", "perl", "generator", "3"]
    walls: dict[str, list[float]] = {"pass": [], "spool": []}
    for number in range(ROUNDS + WARM_UP):
        order = list(walls) if number % 2 == 0 else list(reversed(walls))
        for how in order:
            wall = step(cluster, job, f"--container-output={how}", *words)
            if number >= WARM_UP:
                walls[how].append(wall)
            empty(cluster)
    ratio = statistics.median(walls["spool"]) / statistics.median(walls["pass"])
    pairs = zip(walls["spool"], walls["pass"], strict=True)
    return [
        median("16 x 3 MB, not kept, wall", walls["pass"], "s"),
        median("16 x 3 MB, kept, wall", walls["spool"], "s"),
        Figure(
            metric="16 x 3 MB, kept / not kept, wall",
            value=ratio,
            unit="x",
            budget=RATIO_BUDGET,
            runs=tuple(kept / passed for kept, passed in pairs),
        ),
    ]


def wrong_bytes(file: Path, rank: int, pieces: int) -> int:
    """How many bytes of a rank's file are missing, too many, or not those that it printed."""
    wrong = abs(file.stat().st_size - pieces * MEBIBYTE)
    with file.open("rb") as reader:
        for piece in range(pieces):
            expected = b"%05d %09d\n" % (rank, piece) + BLOCK
            got = reader.read(MEBIBYTE)
            if got != expected:
                same = sum(a == b for a, b in zip(got, expected, strict=False))
                wrong += MEBIBYTE - same
    return wrong


def complete(cluster: Cluster, job: str) -> list[Figure]:
    """Print 64 times 50 MB and look at every byte."""
    pieces, ranks = 50, 64
    words = ["-N4", f"-n{ranks}", "--overcommit", "--output=/dev/null", "perl", "generator"]
    wall = step(cluster, job, *words, str(pieces))
    folder = newest(cluster)
    wrong = sum(
        wrong_bytes(Path(layout.rank_file(str(folder), rank, layout.OUT)), rank, pieces)
        for rank in range(ranks)
    )
    empty(cluster)
    rate = ranks * pieces * MEBIBYTE / 1e6 / wall
    return [
        Figure("64 x 50 MB, bytes lost or wrong", wrong, "B", 0, (wrong,)),
        Figure("64 x 50 MB, wall", wall, "s", None, (wall,)),
        Figure("64 x 50 MB, rate", rate, "MB/s", None, (rate,)),
    ]


def paced(cluster: Cluster, job: str) -> list[Figure]:
    """One rank that has 100 MB/s to print: how much longer it takes."""
    times = []
    for _ in range(3):
        step(cluster, job, "-N1", "-n1", "--output=none", "perl", "generator", "300", "95")
        told = Path(layout.rank_file(str(newest(cluster)), 0, layout.ERR)).read_text("ascii")
        times.append(float(told) / (300 / 95))
        empty(cluster)
    return [median("rank that prints 100 MB/s, slowed by", times, "x", PACED_BUDGET)]


def main() -> int:
    """Run the benchmark; return the exit code."""
    figures: list[Figure] = []
    with Cluster(nodes=4, profile="wide", name=f"bout{os.getpid()}") as cluster:
        cluster.run(["mkdir", WORK], check=True)
        cluster.run(["tee", f"{WORK}/generator"], input=GENERATOR, check=True)
        done = cluster.run(["salloc", "--no-shell", "-N4", "--exclusive"], check=True)
        job = done.stderr.split("job allocation ")[1].split()[0]
        # The pull is not what is measured here.
        step(cluster, job, "-N4", "true")
        figures += compared(cluster, job)
        figures += paced(cluster, job)
        figures += complete(cluster, job)
    return publish("output", figures)


if __name__ == "__main__":
    sys.exit(main())

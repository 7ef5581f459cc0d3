"""A step whose ranks print, as its node program has it: pipes, a spool, a folder.

usage: printing_ranks.py HOME JOB RANKS LINES_PER_SECOND
Every rank prints so many lines a second, one rank after the other, until this is killed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY)]

from hpcbox.ranks import folder, layout  # noqa: E402
from hpcbox.ranks.poller import Poller  # noqa: E402
from hpcbox.ranks.spool import Spool  # noqa: E402

NODE = "n1"


class PrintingStep:
    """One step on one node, in its folder below a home, where screens find it.

    Attributes:
        folder: the step's folder.
    """

    def __init__(self, home: str, job: str, ranks: int) -> None:
        self.folder = folder.open_folder(home, job, "0", "run")
        folder.write_step(
            self.folder,
            {
                "job": job, "step": "0", "cluster": "bench", "user": "root",
                "command": ["./train", "--fast"], "image": "site/train:1", "digest": "sha256:00",
                "tasks": ranks, "node_list": NODE, "launcher": "srun", "started": time.time(),
            },
        )  # fmt: skip
        folder.register(home, "bench", job, "0", self.folder)
        self._poller = Poller()
        self._spool = Spool(
            self.folder, NODE, self._poller,
            wrote=lambda _rank, _stream: None, problem=lambda text: print(text, file=sys.stderr),
        )  # fmt: skip
        self._pipes = []
        self._spool.event("node", {"state": "ready"})
        for rank in range(ranks):
            for stream in (layout.OUT, layout.ERR):
                reader, writer = os.pipe()
                self._spool.add(rank, stream, reader)
                if stream == layout.OUT:
                    self._pipes.append(writer)
            self._spool.event("rank", {"rank": rank, "state": "started", "pid": 1000 + rank})

    def print(self, rank: int, line: bytes) -> None:
        """Let a rank print a line, and take it into its file."""
        os.write(self._pipes[rank], line)
        self._poller.turn()
        self._spool.flush()

    def close(self) -> None:
        """Close everything; the folder stays."""
        self._spool.close()
        for pipe in self._pipes:
            os.close(pipe)
        self._poller.close()


def main(home: str, job: str, ranks: int, lines_per_second: float) -> None:
    """Print until killed."""
    step = PrintingStep(home, job, ranks)
    begun, count = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * lines_per_second * ranks)
        for number in range(count, due):
            rank = number % ranks
            line = f"step {number // ranks:6} rank {rank:2} loss {number * 7919 % 10007 / 1e4:.4f}"
            step.print(rank, f"{line} tokens/s {10000 + number % 977}\n".encode())
        count = due
        time.sleep(0.002)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))

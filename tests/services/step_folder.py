"""Writes a step's folder as its nodes do, for tests of what reads it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from hpcbox.ranks import layout
from hpcbox.ranks.layout import OUT

if TYPE_CHECKING:
    from pathlib import Path


class StepFolder:
    """A step that writes; its clock stands still unless it is moved."""

    def __init__(self, place: Path, *, job: str = "12", step: str = "0", tasks: int = 4) -> None:
        self.path = place / layout.folder_name(job, step)
        self.path.mkdir(parents=True)
        self.folder = str(self.path)
        self.time_ns = time.time_ns()
        facts = {
            "version": layout.VERSION, "job": job, "step": step, "cluster": "lab",
            "user": "alice", "command": ["./train", "--fast"], "image": "site/train:1",
            "digest": "sha256:00", "tasks": tasks, "node_list": "n[1-2]", "launcher": "srun",
            "started": self.time_ns / 1e9,
        }  # fmt: skip
        (self.path / layout.STEP_FILE).write_text(json.dumps(facts), encoding="utf-8")

    def node_of(self, rank: int) -> str:
        """Even ranks run on n1, odd ones on n2."""
        return f"n{rank % 2 + 1}"

    def write(self, rank: int, data: bytes, stream: int = OUT, *, index: bool = True) -> None:
        """Write bytes of a rank, a millisecond after the last ones."""
        self.time_ns += 1_000_000
        with open(layout.rank_file(self.folder, rank, stream), "ab") as file:
            offset = file.tell()
            file.write(data)
        if index:
            record = layout.RECORD.pack(self.time_ns, offset, len(data), rank, stream)
            with open(layout.index_file(self.folder, self.node_of(rank)), "ab") as file:
                file.write(record)

    def event(self, node: str, event: str, **fields: str | int) -> None:
        """Append an event of a node."""
        self.raw_event(node, layout.event_line(self.time_ns / 1e9, event, fields))

    def raw_event(self, node: str, line: bytes) -> None:
        """Append bytes to a node's events."""
        descriptor = os.open(
            layout.events_file(self.folder, node), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
        )
        layout.append_event(descriptor, line)
        os.close(descriptor)

    def end(self, ranks: int = 4) -> None:
        """All ranks end well, and then the nodes."""
        for rank in range(ranks):
            self.event(self.node_of(rank), "rank", rank=rank, state="exited", code=0)
        for node in ("n1", "n2"):
            self.event(node, "node", state="ended")

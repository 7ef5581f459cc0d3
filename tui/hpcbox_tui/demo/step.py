"""Writes a step's folder as its nodes would: pulls, ranks that start and print, one that is odd."""

import json
import math
import os
from collections.abc import Iterator
from typing import Any

from hpcbox.ranks import layout

# A pull's progress is written down as often as a node does it.
_PULL_SECONDS = 0.5


class DemoStep:
    """One step on disk, as far as time has come."""

    def __init__(self, folder: str, script: dict[str, Any], epoch: float) -> None:
        """Write the step's facts.

        Args:
            folder: where; it is made.
            script: "step" of the recording.
            epoch: seconds since 1970 of the recording's time 0.
        """
        self.folder = folder
        self._script = script
        self._epoch = epoch
        self._time = -math.inf
        self._printed: dict[int, int] = {}
        os.makedirs(folder, exist_ok=True)
        facts = {
            "version": layout.VERSION,
            "job": script["job"],
            "step": script["step"],
            "cluster": "",
            "user": "",
            "command": script["command"],
            "image": script["image"],
            "digest": script["digest"],
            "tasks": self._count,
            "node_list": ",".join(script["nodes"]),
            "launcher": "srun",
            "started": epoch + script["begin"],
        }
        with open(os.path.join(folder, layout.STEP_FILE), "w", encoding="utf-8") as file:
            json.dump(facts, file)

    @property
    def _count(self) -> int:
        return len(self._script["nodes"]) * int(self._script["ranks_per_node"])

    def advance(self, now: float) -> None:
        """Write what has happened until `now`, in seconds of the recording."""
        before, self._time = self._time, now
        for node in self._script["nodes"]:
            self._pull(node, before, now)
        turns = [turn for rank in range(self._count) for turn in self._turns(rank, now)]
        for time, rank, number in sorted(turns):
            for stream, text in self._lines(rank, number):
                self._write(rank, stream, time, text)

    def _node(self, rank: int) -> str:
        return str(self._script["nodes"][rank // int(self._script["ranks_per_node"])])

    def _event(self, node: str, time: float, event: str, fields: dict[str, str | int]) -> None:
        with open(layout.events_file(self.folder, node), "ab") as file:
            file.write(layout.event_line(self._epoch + time, event, fields))

    def _pull(self, node: str, before: float, now: float) -> None:
        """Write the events of one node that fall between two times."""
        begin, end = self._script["pulls"][node]
        total = int(self._script["bytes"])
        image = {"image": self._script["image"], "digest": self._script["digest"]}
        if before < self._script["begin"] <= now:
            self._event(node, self._script["begin"], "node", {"state": "preparing", **image})
        if begin <= now and before < end:
            # Only the newest progress is of interest to who comes later.
            at = math.floor(min(now, end) / _PULL_SECONDS) * _PULL_SECONDS
            done = int(total * min(1.0, max(0.0, (at - begin) / (end - begin))))
            if at > before:
                self._event(
                    node,
                    max(at, begin),
                    "node",
                    {"state": "pulling", "done": done, "total": total},
                )
        if before < end <= now:
            self._event(node, end, "node", {"state": "ready"})
            for rank in range(self._count):
                if self._node(rank) == node:
                    self._event(
                        node, end, "rank", {"rank": rank, "state": "started", "pid": 4000 + rank}
                    )

    def _turns(self, rank: int, now: float) -> Iterator[tuple[float, int, int]]:
        """Give (time, rank, number) of each time until now that a rank prints something."""
        start = self._script["pulls"][self._node(rank)][1]
        number = self._printed.get(rank, 0)
        while (time := start + 0.2 + number * self._script["period"] + 0.007 * rank) <= now:
            yield time, rank, number
            number += 1
        self._printed[rank] = number

    def _lines(self, rank: int, number: int) -> list[tuple[int, str]]:
        """Return what a rank prints as its n-th turn."""
        script = self._script
        first = script["first"]
        values = {
            "rank": rank,
            "node": self._node(rank),
            "step": number,
            "loss": 0.3 + 9.1 / (1 + 0.13 * number) + 0.01 * math.sin(7 * number + rank),
            "rate": 10000 + (number * 37 + rank * 101) % 400,
        }
        if number < len(first):
            return [(layout.OUT, first[number].format_map(values))]
        odd, errors = script["odd"], script["errors"]
        if rank == odd["rank"] and number >= odd["step"]:
            texts = odd["lines"] if number == odd["step"] else odd["lines"][1:]
            return [(layout.OUT, text.format_map(values)) for text in texts]
        lines = [(layout.OUT, script["line"].format_map(values))]
        if rank == errors["rank"] and number == errors["step"]:
            lines.append((layout.ERR, errors["text"]))
        return lines

    def _write(self, rank: int, stream: int, time: float, text: str) -> None:
        path = layout.rank_file(self.folder, rank, stream)
        body = text.encode() + b"\n"
        moment = self._epoch + time
        with open(path, "ab") as file:
            offset = file.tell()
            file.write(body)
        # Readers take a file's time for that of its last line.
        os.utime(path, (moment, moment))
        record = layout.RECORD.pack(int(moment * 1e9), offset, len(body), rank, stream)
        with open(layout.index_file(self.folder, self._node(rank)), "ab") as file:
            file.write(record)

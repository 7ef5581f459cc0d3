"""Reads a step's folder while it grows: the state of its nodes and ranks, and bytes by offset.

Nothing is trusted and nothing is loaded whole: events are read on from where the last look ended,
output is read by offset. Files may be missing, cut or removed at any time; then there is nothing to
read, never an error.
"""

import os
from dataclasses import replace

from hpcbox.cluster.node_list import expand
from hpcbox.errors import RequestError
from hpcbox.ranks import files, layout
from hpcbox.ranks.events import LINE_LIMIT, Events, parse_facts
from hpcbox.ranks.step import NodeView, RankView, StepFacts, StepView

FACTS_LIMIT = 2**20
EVENTS_AT_ONCE = 2**20
_FINAL = ("ended", "failed")


class StepReader:
    """Looks into one step's folder, again and again; for one thread."""

    def __init__(self, folder: str) -> None:
        """Take a folder that need not exist yet."""
        self.folder = folder
        self._facts: StepFacts | None = None
        self._node_names: tuple[str, ...] = ()
        self._events = Events()
        self._lines: dict[str, files.RankLines] = {}

    def view(self) -> StepView:
        """Return the step as it is now; reads only what came since the last call."""
        sizes = self._look()
        facts = self._read_facts()
        nodes = self._nodes()
        ranks = self._ranks(facts, sizes)
        return StepView(
            folder=self.folder,
            facts=facts,
            nodes=nodes,
            ranks=ranks,
            problems=tuple(self._events.problems),
            has_ended=_has_ended(facts, nodes, ranks, len(self._node_names)),
        )

    def path(self, rank: int, stream: int = layout.OUT) -> str:
        """Return the path of a rank's file, whether it exists or not."""
        return layout.rank_file(self.folder, rank, stream)

    def size(self, rank: int, stream: int = layout.OUT) -> int:
        """Return how many bytes a rank has written, 0 when there is no file."""
        return files.size_of(self.path(rank, stream))

    def read(self, rank: int, stream: int, offset: int, size: int) -> bytes:
        """Return at most `size` bytes from an offset of a rank's file; b"" beyond its end."""
        return files.read_at(self.path(rank, stream), offset, size)

    def tail(self, rank: int, stream: int = layout.OUT, lines: int = 10) -> list[bytes]:
        """Return a rank's last lines (of its last 64 KiB), an unfinished one included."""
        return files.tail(self.path(rank, stream), lines)

    def _look(self) -> dict[tuple[int, int], tuple[int, float]]:
        """Read new events; return (bytes, time of the last write) of each rank's file."""
        sizes = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    name = entry.name
                    key = layout.parse_rank_file(name)
                    if key is not None:
                        state = entry.stat(follow_symlinks=False)
                        sizes[key] = state.st_size, state.st_mtime
                    elif name.startswith("node-") and name.endswith(".jsonl"):
                        self._read_events(name.removeprefix("node-").removesuffix(".jsonl"))
        except OSError:
            # Gone, or going: what was seen is what there is.
            return sizes
        return sizes

    def _read_events(self, node: str) -> None:
        path = layout.events_file(self.folder, node)
        lines = self._lines.setdefault(node, files.RankLines(path))
        for line in lines.take(EVENTS_AT_ONCE):
            if len(line) <= LINE_LIMIT:
                self._events.feed(node, line)

    def _read_facts(self) -> StepFacts:
        if self._facts is None:
            body = files.read_at(f"{self.folder}/{layout.STEP_FILE}", 0, FACTS_LIMIT)
            self._facts = parse_facts(body)
            if self._facts is not None:
                try:
                    self._node_names = expand(self._facts.node_list)
                except RequestError:
                    self._node_names = ()
        return self._facts or StepFacts()

    def _nodes(self) -> tuple[NodeView, ...]:
        """The step's nodes in its order, then others that were heard of."""
        known = self._events.nodes
        names = dict.fromkeys((*self._node_names, *sorted(known)))
        return tuple(known.get(name) or NodeView(name) for name in names)

    def _ranks(
        self, facts: StepFacts, sizes: dict[tuple[int, int], tuple[int, float]]
    ) -> tuple[RankView, ...]:
        known = self._events.ranks
        numbers = {*range(facts.tasks), *known, *(rank for rank, _ in sizes)}
        views = []
        for rank in sorted(numbers):
            out_bytes, out_time = sizes.get((rank, layout.OUT), (0, 0.0))
            err_bytes, err_time = sizes.get((rank, layout.ERR), (0, 0.0))
            view = replace(
                known.get(rank) or RankView(rank), out_bytes=out_bytes, err_bytes=err_bytes
            )
            if out_bytes or err_bytes:
                written = max(out_time if out_bytes else 0.0, err_time if err_bytes else 0.0)
                state = "started" if view.state == "waiting" else view.state
                view = replace(view, written=written, state=state)
            views.append(view)
        return tuple(views)


def _has_ended(
    facts: StepFacts, nodes: tuple[NodeView, ...], ranks: tuple[RankView, ...], asked_nodes: int
) -> bool:
    if facts.tasks and len(ranks) == facts.tasks and all(rank.has_ended for rank in ranks):
        return True
    return bool(nodes and asked_nodes) and all(node.state in _FINAL for node in nodes)

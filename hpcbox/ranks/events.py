"""What happened on a step's nodes, from the lines they append (layout.py); nothing is trusted."""

import json
from dataclasses import replace
from typing import Any

from hpcbox.errors import one_line
from hpcbox.ranks.step import NodeView, RankView, StepFacts

LINE_LIMIT = 2**16
PROBLEMS_LIMIT = 100
# A step has at most so many ranks; a larger number in an event is nonsense.
RANKS_LIMIT = 2**20
_RANK_STATES = ("started", "exited", "lost")


class Events:
    """The state of nodes and ranks, as the events say so far."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeView] = {}
        self.ranks: dict[int, RankView] = {}
        self.problems: list[str] = []

    def feed(self, node: str, line: bytes) -> None:
        """Take the next line of a node; what isn't understood changes nothing."""
        event = _object(line)
        known = self.nodes.get(node) or NodeView(node)
        match event.get("event"):
            case "node":
                known = _changed_node(known, event)
            case "rank":
                self._change_rank(node, event)
            case "problem":
                self.problems.append(_text(event, "text"))
                del self.problems[:-PROBLEMS_LIMIT]
        self.nodes[node] = replace(known, changed=_time(event) or known.changed)

    def _change_rank(self, node: str, event: dict[str, Any]) -> None:
        rank, state = event.get("rank"), event.get("state")
        if not isinstance(rank, int) or not 0 <= rank < RANKS_LIMIT or state not in _RANK_STATES:
            return
        known = self.ranks.get(rank) or RankView(rank)
        code, signal = event.get("code"), event.get("signal")
        self.ranks[rank] = replace(
            known,
            node=node,
            state=state,
            pid=_count(event, "pid") or known.pid,
            code=code if isinstance(code, int) and not signal else None,
            signal=signal if isinstance(signal, int) and signal else None,
            changed=_time(event),
        )


def _changed_node(known: NodeView, event: dict[str, Any]) -> NodeView:
    return replace(
        known,
        state=_text(event, "state") or known.state,
        text=_text(event, "text") or known.text,
        done_bytes=_count(event, "done") or known.done_bytes,
        total_bytes=_count(event, "total") or known.total_bytes,
        image=_text(event, "image") or known.image,
        digest=_text(event, "digest") or known.digest,
    )


def parse_facts(body: bytes) -> StepFacts | None:
    """Return what a step.json says, or None when it isn't one."""
    facts = _object(body)
    if not facts:
        return None
    command = facts.get("command")
    words = command if isinstance(command, list) else []
    return StepFacts(
        job=_text(facts, "job"),
        step=_text(facts, "step"),
        cluster=_text(facts, "cluster"),
        user=_text(facts, "user"),
        command=tuple(one_line(word) for word in words if isinstance(word, str)),
        image=_text(facts, "image"),
        digest=_text(facts, "digest"),
        tasks=min(_count(facts, "tasks"), RANKS_LIMIT),
        node_list=_text(facts, "node_list"),
        launcher=_text(facts, "launcher"),
        started=_time(facts, "started"),
    )


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    return one_line(value) if isinstance(value, str) else ""


def _count(event: dict[str, Any], name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


def _time(event: dict[str, Any], name: str = "t") -> float | None:
    value = event.get(name)
    return float(value) if isinstance(value, int | float) and 0 < value < 2**40 else None

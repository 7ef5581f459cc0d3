"""What the launcher knows of all ranks, and the first thing that went wrong; no I/O."""

from dataclasses import dataclass

from hpcbox.errors import HpcboxError, RankLost, one_line
from hpcbox.ranks.placement import Share

_LAST_SIGNAL = 64


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a launch ends early.

    Attributes:
        code: exit code that it has from now on.
        text: one line.
        last_lines: what the rank said last, for people.
    """

    code: int
    text: str
    last_lines: str = ""

    def lines(self) -> list[str]:
        """Return the text and the last lines as they are shown, free of control characters."""
        shown = [f"  | {one_line(line)}" for line in self.last_lines.split("\n") if line]
        return [one_line(self.text), *shown]


def describe(code: int) -> str:
    """Return how a process ended whose code a shell would show as this."""
    if 128 < code <= 128 + _LAST_SIGNAL:
        return f"was killed by signal {code - 128}"
    return f"ended with exit code {code}"


class RankBook:
    """Which ranks run, which have ended and said everything."""

    def __init__(self, shares: tuple[Share, ...]) -> None:
        self._node_of = {
            rank: share.node
            for share in shares
            for rank in range(share.first, share.first + share.count)
        }
        self.running = set(self._node_of)
        self.open = set(self._node_of)
        self.started: set[int] = set()
        self.first_failure: Failure | None = None
        self._unproven = set(self._node_of)

    @property
    def have_all_succeeded(self) -> bool:
        """Whether every rank has told that it ended with 0."""
        return not self._unproven

    def node(self, rank: int) -> str:
        """Return the name of a rank's node."""
        return self._node_of[rank]

    def start(self, rank: int) -> None:
        """Note that a rank runs."""
        self.started.add(rank)

    def exit(self, rank: int, code: int, last_lines: str) -> None:
        """Note that a rank has ended."""
        self.running.discard(rank)
        if code:
            how = (
                f"was killed by signal {code - 128}"
                if code > 128
                else f"ended with exit code {code}"
            )
            where = f"rank {rank} on {self._node_of.get(rank, '?')}"
            self.fail(Failure(code, f"{where} {how}", last_lines))

    def refuse(self, rank: int, code: int, text: str) -> None:
        """Note that a rank could not be started."""
        self.running.discard(rank)
        where = f"rank {rank} on {self._node_of.get(rank, '?')}"
        self.fail(Failure(code, f"cannot start {where}: {text}"))

    def lose(self, rank: int) -> Failure:
        """Note that a rank has ended, nobody knows how; return what to say if mpiexec doesn't."""
        self.running.discard(rank)
        text = f"rank {rank} on {self._node_of.get(rank, '?')} has ended, and nobody knows how"
        return Failure(RankLost.exit_code, text)

    def close_all(self) -> None:
        """Note that no rank's output comes as such, nor its end: mpiexec speaks for all."""
        self.running.clear()
        self.open.clear()

    def close(self, rank: int) -> None:
        """Note that all output of a rank has come."""
        self.open.discard(rank)

    def lose_node(self, node: str, error: HpcboxError) -> None:
        """Note that a node has gone, with its ranks."""
        for rank, where in self._node_of.items():
            if where == node:
                self.running.discard(rank)
                self.open.discard(rank)
        self.fail(Failure(error.exit_code, str(error)))

    def fail(self, failure: Failure) -> None:
        """Keep the first failure."""
        if self.first_failure is None:
            self.first_failure = failure

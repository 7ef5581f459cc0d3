"""How a rank's state looks, and which ranks are odd. Pure."""

from collections.abc import Sequence

from rich.style import Style

from hpcbox.views import Group, RankView
from hpcbox_tui.styles import BAD, BUSY, DIM, GOOD, PLAIN, WAITING

# Nothing printed for this long, while others go on printing, is worth a look.
SILENT_SECONDS = 30.0
_PRINTING_SECONDS = 2.0


def sign(rank: RankView, now: float, newest: float, odd: frozenset[int]) -> tuple[str, Style]:
    """Return a rank's cell of the strip.

    Args:
        rank: the rank.
        now: seconds since 1970.
        newest: when any rank of the step printed last.
        odd: ranks that print something else than the most.
    """
    if rank.has_failed:
        return ("?" if rank.state == "lost" else "✗"), BAD
    if rank.rank in odd:
        return "!", WAITING
    if rank.has_ended:
        return "✓", DIM
    if rank.state == "waiting":
        return "○", DIM
    if is_silent(rank, now, newest):
        return "z", WAITING
    is_printing = rank.written is not None and now - rank.written < _PRINTING_SECONDS
    return ("●", GOOD) if is_printing else ("•", BUSY)


def is_silent(rank: RankView, now: float, newest: float) -> bool:
    """Whether a rank has long printed nothing while others have."""
    if rank.state != "started":
        return False
    last = rank.written or rank.changed
    if last is None or now - last <= SILENT_SECONDS:
        return False
    return newest - last > SILENT_SECONDS


def newest_output(ranks: Sequence[RankView]) -> float:
    """Return when any of the ranks printed last, 0 for never."""
    return max((rank.written for rank in ranks if rank.written is not None), default=0.0)


def odd_ranks(groups: Sequence[Group]) -> frozenset[int]:
    """Return the ranks that print something else than the largest group."""
    return frozenset(
        rank for group in groups if group.line_number is not None for rank in group.ranks
    )


def outcome(rank: RankView) -> tuple[str, Style]:
    """Return how a rank is, in a word or two: "exit 1", "signal 9", "lost", ""."""
    if rank.state == "lost":
        return "lost", BAD
    if rank.state == "exited":
        if rank.signal is not None:
            return f"signal {rank.signal}", BAD
        code = 0 if rank.code is None else rank.code
        return f"exit {code}", BAD if code else DIM
    return ("waiting", DIM) if rank.state == "waiting" else ("", PLAIN)

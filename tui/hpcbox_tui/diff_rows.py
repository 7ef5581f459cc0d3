"""Which ranks differ, as rows: odd ones on top, equal output folded. Pure."""

from collections.abc import Sequence

from rich.style import Style

from hpcbox.views import Group, RankView
from hpcbox_tui.rank_looks import is_silent, newest_output, outcome
from hpcbox_tui.styles import BAD, BOLD, DIM, GOOD, PLAIN, TITLE, WAITING
from hpcbox_tui.text import age, fit, numbers, output_text
from hpcbox_tui.widgets.lines import TextRow

RANK = "rank "
_LABEL = 22

Parts = list[tuple[str, Style]]


def diff_rows(
    ranks: Sequence[RankView], groups: Sequence[Group], width: int, now: float
) -> list[TextRow]:
    """Return the rows: failed, differing, silent ranks, then those that print the same."""
    known = {rank.rank: rank for rank in ranks}
    rows = _failed(ranks, width) + _differing(groups, known, width)
    rows += _silent(ranks, width, now)
    if not rows and groups:
        rows.append(TextRow(((" no rank differs", GOOD),)))
    if rows:
        rows.append(TextRow((("", PLAIN),)))
    return rows + _same(groups, width)


def _who(numbers_of: Sequence[int], known: dict[int, RankView]) -> str:
    """Return "rank 17 n002" or "ranks 3,9"."""
    if len(numbers_of) == 1:
        rank = known.get(numbers_of[0])
        return f"rank {numbers_of[0]} {'' if rank is None else rank.node}".strip()
    return f"ranks {numbers(tuple(numbers_of))}"


def _row(label: str, text: str, width: int, style: Style, rank: int | None) -> TextRow:
    parts = (
        (" " + fit(label, _LABEL), BOLD),
        (" ", PLAIN),
        (fit(text, max(0, width - _LABEL - 2)), style),
    )
    return TextRow(parts, None if rank is None else f"{RANK}{rank}")


def _failed(ranks: Sequence[RankView], width: int) -> list[TextRow]:
    failed = [rank for rank in ranks if rank.has_failed]
    rows = [TextRow(((" FAILED", TITLE),))] if failed else []
    # The first one is the likely cause of the others.
    failed.sort(key=lambda rank: rank.changed or 0.0)
    return rows + [
        _row(f"rank {rank.rank} {rank.node}", outcome(rank)[0], width, BAD, rank.rank)
        for rank in failed
    ]


def _differing(groups: Sequence[Group], known: dict[int, RankView], width: int) -> list[TextRow]:
    odd = [group for group in groups if group.line_number is not None]
    rows = [TextRow(((" DIFFERS", TITLE),))] if odd else []
    for group in odd:
        label = _who(group.ranks, known)
        text = f"line {group.line_number}  "
        text += output_text(group.line) if group.line else "(no such line)"
        rows.append(_row(label, text, width, WAITING, group.ranks[0]))
        others = output_text(group.others) if group.others else "(no such line)"
        rows.append(_row("", f"others: {others}", width, DIM, None))
    return rows


def _silent(ranks: Sequence[RankView], width: int, now: float) -> list[TextRow]:
    newest = newest_output(ranks)
    silent = [rank for rank in ranks if is_silent(rank, now, newest)]
    rows = [TextRow(((" SILENT", TITLE),))] if silent else []
    for rank in silent:
        last = rank.written or rank.changed or now
        text = f"nothing for {age(now - last)}"
        rows.append(_row(f"rank {rank.rank} {rank.node}", text, width, WAITING, rank.rank))
    return rows


def _same(groups: Sequence[Group], width: int) -> list[TextRow]:
    rows = []
    for group in groups:
        if group.line_number is None:
            title = f" SAME ({len(group.ranks)} ranks, {group.lines} lines)"
            rows.append(TextRow(((title, TITLE),)))
            label = f"ranks {numbers(group.ranks)}"
            rows.append(_row(label, output_text(group.line), width, PLAIN, group.ranks[0]))
    return rows

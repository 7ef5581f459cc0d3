"""A job's screen as rows. Pure."""

from collections.abc import Sequence

from rich.style import Style

from hpcbox.views import JobDetail, NodeView, RankView, Step, StepFolder, StepView
from hpcbox_tui.columns import REASONS
from hpcbox_tui.styles import (
    BAD,
    BOLD,
    BUSY,
    DIM,
    GOOD,
    NODE_STATES,
    PLAIN,
    STATES,
    TITLE,
    WAITING,
)
from hpcbox_tui.text import age, amount, bar, duration, fit, harmless
from hpcbox_tui.widgets.lines import TextRow

# What a row's target begins with.
NODE, STEP = "node ", "step "
_LABEL = 11

Parts = list[tuple[str, Style]]


def job_rows(
    detail: JobDetail | None,
    view: StepView | None,
    steps: Sequence[StepFolder],
    width: int,
    now: float,
) -> list[TextRow]:
    """Return the rows: facts, nodes, steps, problems.

    Args:
        detail: what Slurm says, None when it says nothing.
        view: what the newest step has left on disk.
        steps: folders with output.
        width: of the screen in cells.
        now: seconds since 1970.
    """
    rows = [] if detail is None else _facts(detail, view, width)
    if view is not None:
        rows += _problems(view, width)
        rows += _nodes(view, width, now)
    rows += _steps(() if detail is None else detail.steps, steps, width)
    return rows


def _fact(label: str, text: str, width: int, style: Style = PLAIN) -> TextRow:
    return TextRow(((fit(f" {label}", _LABEL), DIM), (fit(text, width - _LABEL), style)))


def _title(text: str) -> TextRow:
    return TextRow(((f" {text}", TITLE),))


_EMPTY = TextRow((("", PLAIN),))


def _facts(detail: JobDetail, view: StepView | None, width: int) -> list[TextRow]:
    job = detail.job
    whose = f"{job.user}   partition {job.partition}"
    if job.account:
        whose += f"   account {job.account}"
    rows = [_fact("user", whose, width)]
    if job.state == "PENDING" and job.reason:
        reason = REASONS.get(job.reason, "")
        rows.append(_fact("waits", f"{reason} ({job.reason})".strip(), width, WAITING))
    image = detail.container or (view.facts.image if view is not None else "")
    if image:
        rows.append(_fact("image", image, width, BOLD))
    digest = "" if view is None else view.facts.digest
    if digest:
        rows.append(_fact("digest", digest, width))
    if detail.command:
        rows.append(_fact("command", detail.command, width))
    if detail.work_dir:
        rows.append(_fact("folder", detail.work_dir, width))
    if detail.stdout:
        rows.append(_fact("output", detail.stdout, width))
    return rows + _resources(detail, width)


def _resources(detail: JobDetail, width: int) -> list[TextRow]:
    """Return what was asked for beside what is used."""
    used = dict(detail.used)
    names = list(dict.fromkeys([*dict(detail.asked), *used]))
    if not names:
        return []
    asked = dict(detail.asked)
    cells = [
        f"{name} {asked.get(name, '?')}" + (f" (used {used[name]})" if name in used else "")
        for name in names
    ]
    return [_fact("asked", "   ".join(cells), width)]


def _problems(view: StepView, width: int) -> list[TextRow]:
    return [
        TextRow(((fit(f" ! {text}", width), BAD),), None) for text in dict.fromkeys(view.problems)
    ]


def _nodes(view: StepView, width: int, now: float) -> list[TextRow]:
    if not view.nodes:
        return []
    ranks: dict[str, list[RankView]] = {}
    for rank in view.ranks:
        ranks.setdefault(rank.node, []).append(rank)
    rows = [_EMPTY, _title(f"NODES of step {harmless(view.facts.job)}.{harmless(view.facts.step)}")]
    longest = max(len(node.name) for node in view.nodes)
    name_width = min(longest, 20)
    return rows + [
        _node(node, ranks.get(node.name, []), name_width, width, now) for node in view.nodes
    ]


def _node(
    node: NodeView, ranks: list[RankView], name_width: int, width: int, now: float
) -> TextRow:
    style = NODE_STATES.get(node.state, PLAIN)
    parts: Parts = [(" ", PLAIN), (fit(node.name, name_width), BOLD), ("  ", PLAIN)]
    parts.append((fit(node.state or "unknown", 10), style))
    if node.state == "pulling":
        parts += pull_parts(node, width - name_width - 13)
    else:
        parts.append((f" {rank_counts(ranks):<22}", PLAIN))
        # "ended" needs no text of when.
        since = "" if node.changed is None else f"since {age(now - node.changed)}"
        text = node.text or (since if node.state != "ended" else "")
        parts.append((fit(text, max(0, width - name_width - 36)), DIM))
    return TextRow(tuple(parts), NODE + node.name)


def pull_parts(node: NodeView, width: int) -> Parts:
    """Return how far a node's pull has come, in at most `width` cells."""
    if node.total_bytes <= 0:
        return [(fit(f" {amount(node.done_bytes)}" if node.done_bytes else "", width), BUSY)]
    share = min(1.0, node.done_bytes / node.total_bytes)
    text = f" {share:>4.0%} {amount(node.done_bytes)} of {amount(node.total_bytes)}"
    room = max(0, min(30, width - len(text) - 1))
    return [(f" {bar(share, room)}" if room > 4 else "", BUSY), (fit(text, len(text)), PLAIN)]


def rank_counts(ranks: Sequence[RankView]) -> str:
    """Return how the ranks are: "8 ranks", "6 of 8 ended, 1 failed"."""
    if not ranks:
        return ""
    ended = sum(rank.has_ended for rank in ranks)
    failed = sum(rank.has_failed for rank in ranks)
    text = f"{len(ranks)} rank{'s' if len(ranks) != 1 else ''}"
    if ended:
        text = f"{ended} of {len(ranks)} ended"
    return f"{text}, {failed} failed" if failed else text


def _steps(steps: Sequence[Step], folders: Sequence[StepFolder], width: int) -> list[TextRow]:
    on_disk = {f"{folder.job}.{folder.step}": folder for folder in folders}
    rows: list[TextRow] = []
    for step in steps:
        has_output = on_disk.pop(step.key, None) is not None
        image = f"  {step.container}" if step.container else ""
        text = f" {duration(step.elapsed_seconds):>10}  {step.tasks:>4} tasks  {step.name}{image}"
        parts: Parts = [
            (" ", PLAIN),
            (fit(step.key, 16), BOLD),
            (fit(step.state, 11), STATES.get(step.state, PLAIN)),
            (fit(text, max(0, width - 36)), PLAIN),
            (" output" if has_output else "", GOOD),
        ]
        rows.append(TextRow(tuple(parts), STEP + step.key))
    for key, folder in on_disk.items():
        text = fit(f"output in {folder.folder}", max(0, width - 28))
        rows.append(
            TextRow(
                ((" ", PLAIN), (fit(key, 16), BOLD), (fit("", 11), DIM), (text, DIM)), STEP + key
            )
        )
    return [_EMPTY, _title("STEPS"), *rows] if rows else []

"""`hpcbox ps`: jobs, or one job's steps and ranks."""

import argparse
import json
import os
import pwd
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hpcbox.cli import table
from hpcbox.cluster.client import Wanted
from hpcbox.cluster.commands import CommandClient
from hpcbox.cluster.model import Job, JobDetail
from hpcbox.errors import NoAllocation, one_line, shorten
from hpcbox.image.progress import size_text
from hpcbox.ranks import lookup
from hpcbox.ranks.reader import StepReader
from hpcbox.ranks.step import RankView, StepView
from hpcbox.settings import Settings

HELP = "List jobs, or show one job's steps, nodes and ranks."
EXAMPLES = """  hpcbox ps              my jobs
  hpcbox ps --all        everybody's
  hpcbox ps 12           job 12 with its steps and ranks
  hpcbox ps --json"""

NAME_LENGTH, IMAGE_LENGTH, REASON_LENGTH = 24, 48, 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--all", action="store_true", help="everybody's jobs")
    whose.add_argument("--user", metavar="USER", help="this user's jobs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("job", metavar="JOB", nargs="?", help="one job, with steps and ranks")


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Print a table, or JSON.

    Raises:
        NoAllocation: there is no such job.
        SlurmUnavailable: Slurm can't be asked.
    """
    client = CommandClient()
    if arguments.job is None:
        _print_jobs(client, arguments)
    else:
        found = lookup.find(client, arguments.job)
        if found.detail is None and not found.steps:
            raise found.reason or NoAllocation(
                f"there is no job {shorten(arguments.job)}", hint="see 'hpcbox ps'"
            )
        views = [StepReader(step.folder).view() for step in found.steps]
        if arguments.json:
            print(json.dumps(_plain({"job": found.detail, "steps": views}), indent=1))
        else:
            sys.stdout.writelines(line + "\n" for line in _job_lines(found.detail, views))
    return 0


def _print_jobs(client: CommandClient, arguments: argparse.Namespace) -> None:
    user = arguments.user or (None if arguments.all else _me())
    jobs = client.queue(Wanted(user=user)).jobs
    if arguments.json:
        print(json.dumps(_plain(jobs), indent=1))
        return
    heading: tuple[str, ...] = ("JOB", "NAME", "STATE", "TIME", "NODES", "IMAGE", "WHERE OR WHY")
    rows = [_row(job) for job in jobs]
    if user is None:
        heading = (heading[0], "USER", *heading[1:])
        rows = [(row[0], job.user, *row[1:]) for row, job in zip(rows, jobs, strict=True)]
    sys.stdout.writelines(line + "\n" for line in table.lines([heading, *rows]))


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _row(job: Job) -> tuple[str, ...]:
    where = job.node_list or (f"({job.reason})" if job.reason else "")
    key = job.key if job.tasks == 1 else f"{job.key} ({job.tasks})"
    return (
        shorten(key, 32),
        shorten(job.name, NAME_LENGTH),
        job.state,
        table.clock(job.elapsed_seconds),
        str(job.nodes),
        shorten(job.container, IMAGE_LENGTH),
        shorten(where, REASON_LENGTH),
    )


def _job_lines(detail: JobDetail | None, views: list[StepView]) -> Iterator[str]:
    if detail is not None:
        yield from _detail_lines(detail)
    for view in views:
        yield from _step_lines(view)


def _detail_lines(detail: JobDetail) -> Iterator[str]:
    job = detail.job
    limit = "" if job.limit_seconds is None else f" of {table.clock(job.limit_seconds)}"
    used = dict(detail.used)
    amounts = (
        f"{name} {amount}" + (f" ({used[name]} used)" if name in used else "")
        for name, amount in detail.asked
    )
    reason = f" ({job.reason})" if job.reason else ""
    rows = (
        ("job", f"{job.key}  {shorten(job.name)}"),
        ("user", job.user),
        ("state", job.state + reason),
        ("time", table.clock(job.elapsed_seconds) + limit),
        ("nodes", job.node_list or str(job.nodes)),
        ("asked", ", ".join(amounts)),
        ("image", detail.container),
        ("folder", detail.work_dir),
        ("log", detail.stdout),
        *(("step", f"{step.key}  {step.name}  {step.state}") for step in detail.steps),
    )
    for name, value in rows:
        if value:
            yield f"{name:<7} {one_line(value)}"


def _step_lines(view: StepView) -> Iterator[str]:
    facts = view.facts
    image = f"  {facts.image}" if facts.image else ""
    yield f"step {facts.job}.{facts.step}  {shorten(' '.join(facts.command), 100)}{image}"
    yield from (f"  {problem}" for problem in view.problems)
    nodes = [(node.name, node.state or "unknown", shorten(node.text, 100)) for node in view.nodes]
    if nodes:
        yield from _indented([("NODE", "STATE", "LAST WORDS"), *nodes])
    if view.ranks:
        now = time.time()
        rows = [_rank_row(rank, now) for rank in view.ranks]
        yield from _indented([("RANK", "NODE", "STATE", "STDOUT", "STDERR", "SILENT FOR"), *rows])


def _indented(rows: list[tuple[str, ...]]) -> Iterator[str]:
    return (f"  {line}" for line in table.lines(rows))


def _rank_row(rank: RankView, now: float) -> tuple[str, ...]:
    state = rank.state
    if rank.signal is not None:
        state = f"{state}, signal {rank.signal}"
    elif rank.code is not None:
        state = f"{state}, code {rank.code}"
    is_quiet = rank.written is not None and not rank.has_ended
    silent = table.clock(max(0.0, now - (rank.written or now))) if is_quiet else ""
    sizes = size_text(rank.out_bytes), size_text(rank.err_bytes)
    return str(rank.rank), rank.node, state, *sizes, silent


def _plain(value: Any) -> Any:
    """Turn values into what JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value

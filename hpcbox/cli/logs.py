"""`hpcbox logs`: what a job's ranks have printed, or print now."""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence

from hpcbox.cli.log_copy import FileSource, Printer, RankSource, Watch, copy
from hpcbox.cli.log_output import JsonOutput, LineOutput, LinesOf, Output, PieceOutput
from hpcbox.cli.log_target import Target, parse_target
from hpcbox.cluster.client import SlurmClient
from hpcbox.cluster.commands import CommandClient
from hpcbox.errors import ClusterError, NoAllocation, RequestError
from hpcbox.ranks import files, layout, lookup
from hpcbox.ranks.folders import StepFolder
from hpcbox.ranks.layout import ERR, OUT
from hpcbox.ranks.merge import Line, MergedPieces
from hpcbox.ranks.reader import StepReader
from hpcbox.settings import Settings

HELP = "Show what a job's ranks have printed."
EXAMPLES = """  hpcbox logs 12              the newest step of job 12; each line with its rank
  hpcbox logs 12:3            rank 3, byte for byte
  hpcbox logs 12.1:0-3 -f     four ranks of step 1, as they print
  hpcbox logs 12 --merge      all ranks in the order of time
  hpcbox logs 12 --grep ERROR
  hpcbox logs 12.batch        the batch script's own log"""

BATCH = "batch"
WAIT_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    add = parser.add_argument
    add(
        "target",
        metavar="JOB[.STEP][:RANKS]",
        type=parse_target,
        help="RANKS is e.g. 3, 0-3,7 or all",
    )
    add("-f", "--follow", action="store_true", help="go on until the step ends")
    add("--merge", action="store_true", help="in the order of time, not rank by rank")
    add(
        "--grep",
        metavar="RE",
        type=_pattern,
        help="only lines in which this regular expression matches",
    )
    add("--tail", metavar="N", type=_count, help="begin N lines before the end")
    add("--json", action="store_true", help="one JSON object a line")
    streams = parser.add_mutually_exclusive_group()
    streams.add_argument("--stdout", action="store_true", help="without the ranks' stderr")
    streams.add_argument("--stderr", action="store_true", help="without the ranks' stdout")
    add("--raw", action="store_true", help="send control sequences to the terminal too")
    add("--dir", metavar="DIR", help="the folder in which the step's folder is")


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Print what is asked for.

    Raises:
        NoAllocation: there is no such job, step or rank, or it has left nothing.
        RequestError: the target or the regular expression is wrong.
    """
    client = CommandClient()
    found = _find(client, arguments)
    step = _chosen(found, arguments.target)
    if step is None:
        _print_batch_log(client, found, arguments)
    else:
        _print_step(client, found, step, arguments)
    return 0


def _find(client: SlurmClient, arguments: argparse.Namespace) -> lookup.Found:
    """Look for the job; with --follow wait until it has something to show."""
    target: Target = arguments.target
    places = [arguments.dir] if arguments.dir else []
    is_told = False
    while True:
        found = lookup.find(client, target.job, places)
        may_come = arguments.follow and found.may_run and target.step != BATCH
        if not may_come or _chosen(found, target) is not None or _has_log(found, target):
            return found
        if not is_told:
            print(f"hpcbox: waiting for job {target.job} to print", file=sys.stderr)
            is_told = True
        time.sleep(WAIT_SECONDS)


def _chosen(found: lookup.Found, target: Target) -> StepFolder | None:
    if target.step is None:
        return found.steps[-1] if found.steps else None
    return next((step for step in found.steps if step.step == target.step), None)


def _has_log(found: lookup.Found, target: Target) -> bool:
    detail = found.detail
    is_wanted = target.step in (None, BATCH) and not target.has_ranks
    return is_wanted and detail is not None and os.path.exists(detail.stdout)


def _print_batch_log(
    client: SlurmClient,
    found: lookup.Found,
    arguments: argparse.Namespace,
) -> None:
    target: Target = arguments.target
    if not _has_log(found, target) or found.detail is None:
        raise _nothing(found, target)
    stream = ERR if arguments.stderr else OUT
    path = found.detail.stderr if arguments.stderr else found.detail.stdout
    offset = 0 if arguments.tail is None else files.tail_offset(path, arguments.tail)
    watch = Watch(client, found, None) if arguments.follow else None
    printer = _printer(arguments, is_labelled=False)
    copy(FileSource(path, stream, offset), printer, watch)


def _nothing(found: lookup.Found, target: Target) -> ClusterError:
    what = f"job {target.job}" if target.step is None else f"step {target.job}.{target.step}"
    if found.detail is None and not found.steps:
        return found.reason or NoAllocation(f"there is no {what}", hint="see 'hpcbox ps'")
    if found.steps and target.step is not None:
        steps = ", ".join(step.step for step in found.steps)
        return NoAllocation(f"{what} has left no output", hint=f"there is output of steps {steps}")
    return NoAllocation(
        f"{what} has left no output that can be seen here",
        hint="if its working directory is elsewhere, name it with --dir",
    )


def _print_step(
    client: SlurmClient,
    found: lookup.Found,
    step: StepFolder,
    arguments: argparse.Namespace,
) -> None:
    target: Target = arguments.target
    reader = StepReader(step.folder)
    known = tuple(rank.rank for rank in reader.view().ranks)
    ranks = known if target.ranks is None else tuple(sorted(target.ranks))
    missing = [rank for rank in ranks if known and rank not in known]
    if missing:
        raise NoAllocation(
            f"step {step.job}.{step.step} has no rank {missing[0]}",
            hint=f"it has ranks {known[0]} to {known[-1]}",
        )
    is_labelled = len(ranks) != 1
    printer = _printer(arguments, is_labelled=is_labelled)
    if arguments.follow:
        source = _source(reader, target.ranks, arguments, known)
        copy(source, printer, Watch(client, found, reader))
    elif arguments.grep is not None and arguments.tail is None and not arguments.merge:
        _search(reader, ranks, arguments)
    elif arguments.merge or len(ranks) == 1:
        copy(_source(reader, frozenset(ranks), arguments, ranks), printer, None)
    else:
        for rank in ranks:
            copy(_source(reader, frozenset((rank,)), arguments, (rank,)), printer, None)


def _search(reader: StepReader, ranks: Sequence[int], arguments: argparse.Namespace) -> None:
    """Look for lines without cutting all of the files into lines."""
    output = _line_output(arguments, is_labelled=len(ranks) != 1)
    for rank in ranks:
        for stream in _streams(arguments):
            for _, line in files.search(reader.path(rank, stream), arguments.grep):
                output.write((Line(0, rank, stream, line),))


def _source(
    reader: StepReader,
    ranks: frozenset[int] | None,
    arguments: argparse.Namespace,
    known: Sequence[int],
) -> RankSource:
    offsets = {}
    streams = _streams(arguments)
    if arguments.tail is not None:
        offsets = {
            (rank, stream): files.tail_offset(reader.path(rank, stream), arguments.tail)
            for rank in known
            for stream in streams
            if ranks is None or rank in ranks
        }
    pieces = MergedPieces(reader.folder, ranks, streams=streams, offsets=offsets)
    return RankSource(pieces, is_one_rank=ranks is not None and len(ranks) == 1)


def _printer(arguments: argparse.Namespace, *, is_labelled: bool) -> Printer:
    if arguments.grep is None and not arguments.json and not is_labelled:
        return PieceOutput(raw=arguments.raw)
    return LinesOf(_line_output(arguments, is_labelled=is_labelled), arguments.grep)


def _line_output(arguments: argparse.Namespace, *, is_labelled: bool) -> Output:
    return JsonOutput() if arguments.json else LineOutput(raw=arguments.raw, labels=is_labelled)


def _streams(arguments: argparse.Namespace) -> tuple[int, ...]:
    if arguments.stderr:
        return (ERR,)
    return (OUT,) if arguments.stdout else tuple(layout.SUFFIXES)


def _pattern(text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(os.fsencode(text), re.MULTILINE)
    except re.error as error:
        raise RequestError(f"--grep: {error.msg} in the regular expression") from error


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number

"""Where the output of ranks comes from, where it goes, and when it ends."""

import time
from collections.abc import Iterable
from typing import Protocol

from hpcbox.cli.log_output import NO_RANK
from hpcbox.cluster.client import SlurmClient, Wanted
from hpcbox.errors import ClusterError, NoAllocation
from hpcbox.ranks import files, lookup
from hpcbox.ranks.merge import MergedPieces, Piece
from hpcbox.ranks.reader import StepReader

# While something comes, and while nothing does.
BUSY_SECONDS, IDLE_SECONDS = 0.02, 0.05
BUSY_FOR_SECONDS = 2.0
LOOK_SECONDS = 0.25
ASK_SLURM_SECONDS = 5.0


class Source(Protocol):
    """Where pieces come from."""

    def take(self, *, all_files: bool) -> list[Piece]:
        """Return the next pieces, [] for none now."""


class Printer(Protocol):
    """Where pieces go."""

    def write(self, pieces: Iterable[Piece]) -> None:
        """Print the next pieces."""

    def finish(self) -> None:
        """Print what was held back."""


class FileSource:
    """A single file, e.g. the batch script's log."""

    def __init__(self, path: str, stream: int, offset: int) -> None:
        self._growth = files.Growth(path, offset)
        self._stream = stream

    def take(self, *, all_files: bool) -> list[Piece]:
        """Return the next pieces; there is but one file."""
        del all_files
        data, _ = self._growth.take(2**18)
        return [Piece(0, NO_RANK, self._stream, data)] if data else []


class RankSource:
    """The files of ranks."""

    def __init__(self, pieces: MergedPieces, *, is_one_rank: bool) -> None:
        self._pieces = pieces
        self._is_one_rank = is_one_rank

    def take(self, *, all_files: bool) -> list[Piece]:
        """Return the next pieces; a single rank's come before its node's index tells of them."""
        pieces = self._pieces.take()
        if not pieces and (all_files or self._is_one_rank):
            pieces = self._pieces.take_unindexed()
        return pieces


class Watch:
    """Tells when a step, or a batch script, will print no more."""

    def __init__(self, client: SlurmClient, found: lookup.Found, reader: StepReader | None) -> None:
        self._client = client
        self._found = found
        self._reader = reader
        now = time.monotonic()
        self._look_at = now
        self._ask_at = now + ASK_SLURM_SECONDS if found.may_run else now

    def has_ended(self) -> bool:
        """Look at its folder, and now and then at the queue: a killed step says nothing."""
        now = time.monotonic()
        if self._reader is not None and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            if self._reader.view().has_ended:
                return True
        detail = self._found.detail
        if now < self._ask_at or (detail is None and self._found.reason is None):
            return False
        self._ask_at = now + ASK_SLURM_SECONDS
        if detail is None:
            return isinstance(self._found.reason, NoAllocation)
        try:
            return not self._client.queue(Wanted(jobs=(detail.job.key,))).jobs
        except ClusterError:
            # What can't be asked for may still run.
            return False


def copy(source: Source, printer: Printer, watch: Watch | None) -> None:
    """Print all there is, and with a watch what comes until it says that nothing more will."""
    last_piece = time.monotonic()
    while True:
        pieces = source.take(all_files=watch is None)
        if pieces:
            printer.write(pieces)
            last_piece = time.monotonic()
        elif watch is None:
            break
        elif watch.has_ended():
            # What was written between the look and now.
            watch = None
        else:
            is_busy = time.monotonic() - last_piece < BUSY_FOR_SECONDS
            time.sleep(BUSY_SECONDS if is_busy else IDLE_SECONDS)
    printer.finish()

"""How the rest of hpcbox asks Slurm: a small port, whatever answers behind it.

Calls block, for at most their client's time limit; a screen makes them in a thread. One client may
be used by several threads at once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hpcbox.cluster.model import JobDetail, Queue
from hpcbox.errors import RequestError, shorten

_KEY = re.compile(r"[1-9][0-9]{0,9}(\+[0-9]{1,4}|_[0-9]{1,9}|_\[[0-9,-]+\])?", re.ASCII)


def check_key(key: str) -> str:
    """Return a job's key as it is; nothing else ever becomes an argument of Slurm's commands.

    Raises:
        RequestError: it is none.
    """
    if _KEY.fullmatch(key) is None:
        raise RequestError(
            f"'{shorten(key)}' is no job id", hint="for example 12, 12_3 of an array, or 12+1"
        )
    return key


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs are asked for; the server leaves the others out.

    Attributes:
        user: an account's name, or None for everybody's jobs.
        states: long forms, e.g. RUNNING; empty for all that Slurm lists unasked.
        partitions: names, empty for all.
        jobs: keys or job ids, empty for all; the folded rest of an array brings the whole array.
    """

    user: str | None = None
    states: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What came of a cancel.

    Attributes:
        sent: keys that Slurm was asked to cancel.
        gone: keys that were no job any more.
    """

    sent: tuple[str, ...]
    gone: tuple[str, ...]


class SlurmClient(Protocol):
    """Slurm as one account sees it; all methods raise SlurmUnavailable with Slurm's own words."""

    def cluster(self) -> str:
        """Return the cluster's name; asked for once."""

    def queue(self, wanted: Wanted) -> Queue:
        """Return the jobs that are wanted, arrays folded, in Slurm's order.

        Lines that aren't understood are left out; a job id that is no job any more is no error.
        """

    def detail(self, job: str) -> JobDetail:
        """Return all that is known of one job ("12", "12_3", "12+1").

        Raises:
            NoAllocation: there is no such job (any more).
        """

    def cancel(self, keys: Sequence[str]) -> Cancelled:
        """Cancel exactly these jobs.

        Raises:
            ClusterError: Slurm refuses, e.g. for another user's job.
        """

    def cancel_command(self, keys: Sequence[str]) -> list[str]:
        """Return the command line that `cancel` stands for, for people to read."""

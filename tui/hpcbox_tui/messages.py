"""What the feed tells the screens: frozen values, and floods collapse to the last of them."""

from dataclasses import dataclass

from textual.message import Message

from hpcbox.views import Cancelled, Group, JobDetail, Line, Queue, StepFolder, StepView


class FeedMessage(Message, bubble=False):
    """A message of the feed: for one screen; a newer one of its kind replaces it."""

    def can_replace(self, message: Message) -> bool:
        """Only the newest state is worth showing."""
        return type(message) is type(self)


@dataclass(eq=False)
class QueueChanged(FeedMessage, bubble=False):
    """The queue was asked for.

    Attributes:
        queue: the newest there is, None when there never was one.
        problem: why the last query brought none, "" when it did.
        asking: whether this queue comes from an earlier session and the first query is under way.
    """

    queue: Queue | None
    problem: str = ""
    asking: bool = False


@dataclass(eq=False)
class JobChanged(FeedMessage, bubble=False):
    """A job was asked for.

    Attributes:
        detail: the newest there is, None when there never was one.
        steps: folders with output, the newest last.
        view: the newest step's state, None without a folder.
        problem: why the last query failed, "" when it didn't.
        taken_at: seconds since 1970 when `detail` was asked for.
    """

    detail: JobDetail | None
    steps: tuple[StepFolder, ...]
    view: StepView | None
    problem: str
    taken_at: float


@dataclass(frozen=True, slots=True)
class Tail:
    """The last lines of a rank, raw, the newest last; `unfinished` lacks its newline."""

    lines: tuple[bytes, ...] = ()
    unfinished: bytes = b""


@dataclass(eq=False)
class RanksChanged(FeedMessage, bubble=False):
    """A step's ranks have printed, started or ended.

    Attributes:
        view: the step.
        tails: rank → its last lines.
        merged: the last lines of all ranks by time; empty unless asked for.
        groups: who prints the same, the odd ones first; empty unless asked for.
        compared: share of the output that the groups are about, 0 to 1.
    """

    view: StepView
    tails: dict[int, Tail]
    merged: tuple[Line, ...]
    groups: tuple[Group, ...]
    compared: float


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log in view.

    Attributes:
        offset: of its first byte.
        raw: its bytes, at most as many as are looked at, without the newline.
    """

    offset: int
    raw: bytes


@dataclass(eq=False)
class LogChanged(FeedMessage, bubble=False):
    """What is in view of a log.

    Attributes:
        lines: from the top.
        size_bytes: of the file, None when it is gone.
        at_end: whether its last line is in view.
        match: offset and length of the match that was jumped to, None without.
        note: one line for the user, e.g. "nothing found", or how far a search has come; why there
            is no file when it is gone.
    """

    lines: tuple[LogLine, ...]
    size_bytes: int | None
    at_end: bool
    match: tuple[int, int] | None
    note: str


@dataclass(eq=False)
class CancelDone(Message, bubble=False):
    """What came of a cancel: an outcome, or why there is none."""

    outcome: Cancelled | None
    problem: str

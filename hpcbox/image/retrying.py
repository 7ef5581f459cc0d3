"""How long a failing registry is tried again: one place decides for requests and for blobs.

Waits grow and have jitter, so that the nodes of a job don't come back all at once. Retry-After
(RFC 9110, 10.2.3) is obeyed when there is time for it. A registry that never answered gets little:
its name may be wrong; one that has answered is worth waiting for.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from hpcbox.errors import RegistryUnreachable

Notice = Callable[[str], None]
"""Is told in one line why a pull waits."""

_PAUSES_KNOWN = (0.5, 1.5, 4.0, 9.0)
_PAUSES_UNKNOWN = (0.2, 1.0)
_NOTICED_SECONDS = 1.0
# What makes a failure the first one again; less is no progress worth another round.
_PROGRESS_BYTES = 2**20
_MAXIMUM_FAILURES = 64


def silent(_text: str) -> None:
    """Tell nobody."""


class Patience:
    """What is left of the willingness to try one request, or one blob, again.

    Bounded three times: failures in a row, seconds since the first of them, failures in all.
    """

    def __init__(
        self,
        seconds: float,
        *,
        deadline: float | None = None,
        notice: Notice = silent,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Begin with all of it.

        Args:
            seconds: how long failures in a row are borne.
            deadline: moment of `clock` after which nothing is tried again.
            notice: is told of waits of a second and more.
            sleep: waits; an event's wait may end it early.
            clock: seconds that only grow.
            jitter: a number from 0 to 1.
        """
        self._seconds = seconds
        self._deadline = deadline
        self._notice = notice
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self._in_row = 0
        self._in_all = 0
        self._since = 0.0
        self._gained = 0

    def progressed(self, count: int) -> None:
        """Count bytes that came: enough of them make the next failure the first one."""
        self._gained += count
        if self._gained >= _PROGRESS_BYTES:
            self._in_row = 0

    def wait(
        self, error: RegistryUnreachable, *, known: bool = True, asked_seconds: float | None = None
    ) -> None:
        """Wait before the next attempt, or raise `error` when there is to be none.

        Args:
            error: what has just gone wrong.
            known: whether the registry has ever answered.
            asked_seconds: how long the registry asks to be left alone.
        """
        now = self._clock()
        if self._in_row == 0:
            self._since = now
        pauses = _PAUSES_KNOWN if known else _PAUSES_UNKNOWN
        if self._in_row >= len(pauses) or self._in_all >= _MAXIMUM_FAILURES:
            raise error
        pause = pauses[self._in_row] * (0.75 + self._jitter() / 2)
        if asked_seconds is not None:
            pause = max(pause, asked_seconds + self._jitter() / 4)
        end = min(self._since + self._seconds, self._deadline or float("inf"))
        if now + pause > end:
            raise error
        self._in_row, self._in_all, self._gained = self._in_row + 1, self._in_all + 1, 0
        if asked_seconds is not None:
            self._notice(f"the registry asks to wait {pause:.0f} s")
        elif pause >= _NOTICED_SECONDS:
            self._notice(f"{error.message}: next attempt in {pause:.0f} s")
        self._sleep(pause)


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header, or None for none or a broken one."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - (now or datetime.now(UTC))).total_seconds(), 0.0)

"""Where the launcher puts the ranks' output: its own stdout and stderr, files, or nowhere.

A thread writes, so that a terminal that was stopped or a pipe nobody reads keeps neither the
launcher's heartbeat nor another rank waiting; how much may queue up is the credit that agents have.
Blocks go through whole; lines are looked for only when each is to be labelled.
"""

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from hpcbox.errors import LaunchRefused, RequestError
from hpcbox.ranks import layout
from hpcbox.ranks.plan import LaunchPlan

NOWHERE = "none"
# A labelled line that is longer is cut in two.
_MAX_LINE = 64 * 1024
_OWN = -1
_PATTERNS = "%j job, %J job.step, %s step, %t rank, %N node, %u user, %% a percent sign"


@dataclass(frozen=True, slots=True)
class _Block:
    """Bytes of a rank, and what to call when they are written; rank -1: hpcbox's own words."""

    rank: int
    node: str
    stream: int
    block: bytes
    written: Callable[[], None]


def is_wanted(plan: LaunchPlan) -> bool:
    """Whether any of the ranks' output is to come to the launcher."""
    return any(pattern != NOWHERE for pattern in _patterns(plan).values())


def expand(pattern: str, plan: LaunchPlan, rank: int, node: str) -> str:
    """Return the name of the file that a rank's output goes to.

    Raises:
        RequestError: the pattern has an unknown `%`.
    """
    values = {
        "j": plan.job,
        "J": f"{plan.job}.{plan.step}",
        "s": plan.step,
        "t": str(rank),
        "N": node,
        "u": plan.user,
        "%": "%",
    }
    text = ""
    letters = iter(pattern)
    for letter in letters:
        if letter != "%":
            text += letter
            continue
        width = ""
        code = next(letters, "")
        while code.isdigit():
            width += code
            code = next(letters, "")
        if code not in values or not code:
            raise RequestError(f"'%{code}' in '{pattern}' is unknown", hint=f"known: {_PATTERNS}")
        value = values[code]
        text += value.zfill(min(int(width), 10)) if width and value.isdigit() else value
    return text


def _patterns(plan: LaunchPlan) -> dict[int, str | None]:
    return {layout.OUT: plan.output, layout.ERR: plan.error or plan.output}


class Delivery:
    """Writes what `take` is given, in that order, until `finish`.

    Raises:
        RequestError: a pattern is wrong.
    """

    def __init__(self, plan: LaunchPlan) -> None:
        self._plan = plan
        self._patterns = _patterns(plan)
        for pattern in self._patterns.values():
            if pattern is not None:
                expand(pattern, plan, 0, plan.nodes[0])
        self._label_width = len(str(plan.tasks - 1))
        self._files: dict[str, int] = {}
        self._rests: dict[tuple[int, int], bytes] = {}
        self._failure: OSError | None = None
        self._taken = 0
        self._done = 0
        self._queue: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        # Does not keep the process: a stopped terminal would.
        self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
        self._thread.start()

    def take(
        self, rank: int, node: str, stream: int, block: bytes, written: Callable[[], None]
    ) -> None:
        """Write a block of a rank's output; `written` is called by another thread."""
        self._taken += 1
        self._queue.put(_Block(rank, node, stream, block, written))

    @property
    def is_idle(self) -> bool:
        """Whether everything that was taken is written, or can't be."""
        return self._done == self._taken

    def say(self, text: str) -> None:
        """Write a line of hpcbox's own to stderr."""
        line = f"hpcbox: {text}\n".encode("utf-8", "replace")
        self._queue.put(_Block(_OWN, "", layout.ERR, line, lambda: None))

    def finish(self, seconds: float) -> None:
        """Write what is queued, for at most so many seconds.

        Raises:
            LaunchRefused: output could not be written where it was to go.
        """
        self._queue.put(None)
        self._thread.join(seconds)
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()
        if self._failure is not None and not isinstance(self._failure, BrokenPipeError):
            raise LaunchRefused(
                f"cannot write the ranks' output: {self._failure.filename or ''} "
                f"{self._failure.strerror}",
                hint="'hpcbox logs' has all of it",
            )

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._failure is None or item.rank == _OWN:
                try:
                    self._write(item)
                except OSError as error:
                    # The ranks go on; their output is in the step's folder.
                    self._failure = error
            if item.rank != _OWN:
                self._done += 1
            item.written()
        for (rank, stream), rest in self._rests.items():
            if rest and self._failure is None:
                _write_whole(self._descriptor(rank, "", stream), self._labelled(rank, rest + b"\n"))

    def _write(self, item: _Block) -> None:
        if item.rank == _OWN:
            _write_whole(item.stream, item.block)
            return
        descriptor = self._descriptor(item.rank, item.node, item.stream)
        if descriptor < 0:
            return
        block = item.block
        if self._plan.label:
            lines, newline, rest = (
                self._rests.pop((item.rank, item.stream), b"") + block
            ).rpartition(b"\n")
            if len(rest) > _MAX_LINE:
                lines, newline, rest = lines + newline + rest, b"\n", b""
            self._rests[item.rank, item.stream] = rest
            block = self._labelled(item.rank, lines + newline) if newline else b""
        _write_whole(descriptor, block)

    def _labelled(self, rank: int, lines: bytes) -> bytes:
        label = b"%*d: " % (self._label_width, rank)
        return label + lines[:-1].replace(b"\n", b"\n" + label) + b"\n"

    def _descriptor(self, rank: int, node: str, stream: int) -> int:
        pattern = self._patterns[stream]
        if pattern is None:
            return stream
        if pattern == NOWHERE:
            return -1
        path = expand(pattern, self._plan, rank, node)
        if path not in self._files:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            self._files[path] = os.open(path, flags, 0o666)
        return self._files[path]


def _write_whole(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]

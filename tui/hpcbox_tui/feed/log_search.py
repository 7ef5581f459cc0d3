"""Finds text in a log, a block at a time, so that the rest of the screen goes on."""

import re

from hpcbox_tui.feed.log_file import LogFile

_BLOCK_BYTES = 2**19
# Where blocks overlap; a match longer than this may be missed at their border.
_OVERLAP_BYTES = 2**12
_SPECIAL = frozenset("\\.^$*+?{}[]()|")


def compile_search(text: str) -> re.Pattern[bytes]:
    """Return what is searched for: an expression where the text has special characters and is one.

    Letters match as they are typed; (?i) at the start ignores their case.
    """
    raw = text.encode("utf-8", "surrogateescape")
    if _SPECIAL & set(text):
        try:
            return re.compile(raw, re.MULTILINE)
        except re.error:
            pass
    return re.compile(re.escape(raw))


class Search:
    """One search through a file, from an offset to the other end.

    Attributes:
        text: what is searched for.
        forward: towards the end of the file.
        has_wrapped: whether it began again at the other end.
        match: offset and length of what was found.
        is_over: whether there is no more to do.
    """

    def __init__(
        self, file: LogFile, text: str, start: int, *, forward: bool, has_wrapped: bool = False
    ) -> None:
        self.text = text
        self.forward = forward
        self.has_wrapped = has_wrapped
        self._file = file
        self._pattern = compile_search(text)
        self._at = start
        self._start = start
        # One for all blocks: a gigabyte of fresh ones would cost as much as the search.
        self._buffer = bytearray(_BLOCK_BYTES + _OVERLAP_BYTES)
        self.match: tuple[int, int] | None = None
        self.is_over = False

    @property
    def share(self) -> float:
        """How much of the file it has been through, 0 to 1."""
        span = (self._file.size - self._start) if self.forward else self._start
        return min(1.0, abs(self._at - self._start) / span) if span else 1.0

    def wrapped(self) -> "Search":
        """Return the search that begins again at the other end."""
        start = 0 if self.forward else self._file.size
        return Search(self._file, self.text, start, forward=self.forward, has_wrapped=True)

    def step(self) -> None:
        """Search one block; afterwards `match` is set, or `is_over`, or neither."""
        if self.forward:
            self._step_forward()
        else:
            self._step_back()

    def _step_forward(self) -> None:
        length = self._file.read_into(self._at, self._buffer)
        found = self._first(length)
        if found is not None:
            self.match = (self._at + found[0], found[1])
            self.is_over = True
        elif length < len(self._buffer):
            self.is_over = True
        else:
            self._at += _BLOCK_BYTES

    def _first(self, length: int) -> tuple[int, int] | None:
        """Return start and length of the first match in the buffer."""
        match = self._pattern.search(self._buffer, 0, length)
        return None if match is None else (match.start(), match.end() - match.start())

    def _step_back(self) -> None:
        low = max(0, self._at - _BLOCK_BYTES)
        # A match may begin here and end behind; it counts when it begins before the start.
        length = min(self._file.read_into(low, self._buffer), self._at - low + _OVERLAP_BYTES)
        last = None
        for match in self._pattern.finditer(self._buffer, 0, length):
            if low + match.start() >= self._at:
                break
            last = match.start(), match.end() - match.start()
        if last is not None:
            self.match = (low + last[0], last[1])
            self.is_over = True
        elif low == 0:
            self.is_over = True
        else:
            self._at = low

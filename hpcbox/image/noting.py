"""Shows why a registry lets a pull wait, until something comes again."""

import threading
from dataclasses import replace

from hpcbox.image.progress import Progress, Report


class Noting:
    """A report with notes: each stays in what is reported until bytes or another phase come.

    Called from several threads, it passes on one report at a time.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._last = Progress("resolving", "")
        self._note = ""

    def __call__(self, progress: Progress) -> None:
        """Pass on, with the note while it holds."""
        with self._lock:
            if (progress.phase, progress.bytes_done) != (self._last.phase, self._last.bytes_done):
                self._note = ""
            self._last = progress
            self._report(replace(progress, note=self._note))

    def notice(self, text: str) -> None:
        """Take a note, and report it at once."""
        with self._lock:
            self._note = text
            self._report(replace(self._last, note=text))

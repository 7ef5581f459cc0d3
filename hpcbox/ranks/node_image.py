"""An image on its way into the store of the agent's user: `hpcbox pull`, run by the agent.

The pull is a process of its own: it needs what a node agent can't afford to load. Loaded on nodes.
"""

import os
import sys

from hpcbox.errors import shorten
from hpcbox.json_scan import loads
from hpcbox.ranks.poller import Poller

_MAX_LINE = 2**20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcbox.ranks.host_processes import HostProcesses
    from hpcbox.ranks.order import Order


class Pull:
    """One pull; `key` is its name among the host's processes.

    Args:
        poller: the event loop.
        progress: called with (text, bytes done, bytes of all).
    """

    def __init__(self, poller: Poller, progress: "Callable[[str, int, int], None]") -> None:
        self._poller = poller
        self._progress = progress
        self._pending: dict[int, bytes] = {}
        self._result = ""
        self._words = "the pull said nothing"

    def start(
        self, key: int, host: "HostProcesses", order: "Order", environment: dict[str, str]
    ) -> None:
        """Begin to pull the order's image."""
        digest = ("--digest", order.digest) if order.digest else ()
        argv = [sys.executable, "-m", "hpcbox", "pull", "--json", *digest, order.image]
        null = os.open(os.devnull, os.O_RDONLY)
        ends = []
        for take in (self._take_result, self._take_progress):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            ends.append(writer)
            self._watch(reader, take)
        environment = {**environment, "HPCBOX_STORE": order.store, "PYTHONPATH": _prefix()}
        host.spawn(key, argv, environment, "/", (null, ends[0], ends[1]))
        for descriptor in (null, *ends):
            os.close(descriptor)

    def digest(self) -> str:
        """Return the digest that the pull has printed, "" if none."""
        try:
            record = loads(self._result)
        except ValueError:
            return ""
        return str(record.get("digest", "")) if isinstance(record, dict) else ""

    def last_words(self) -> str:
        """Return the last line that wasn't progress: why it failed."""
        return self._words

    def _watch(self, reader: int, take: "Callable[[str], None]") -> None:
        self._pending[reader] = b""

        def ready(_events: int) -> None:
            block = os.read(reader, 65536)
            if not block:
                self._poller.close_watched(reader)
                return
            *lines, rest = (self._pending[reader] + block).split(b"\n")
            self._pending[reader] = rest[:_MAX_LINE]
            for line in lines:
                take(line.decode("utf-8", "replace"))

        self._poller.watch(reader, ready)

    def _take_result(self, line: str) -> None:
        self._result = line

    def _take_progress(self, line: str) -> None:
        try:
            values = loads(line)
        except ValueError:
            values = None
        if isinstance(values, dict) and "phase" in values:
            phase, image = str(values["phase"]), str(values.get("image", ""))
            done, total = values.get("bytes_done", 0), values.get("bytes_total", 0)
            if isinstance(done, int) and isinstance(total, int):
                self._progress(f"{phase} {image}", done, total)
        else:
            self._words = shorten(line.removeprefix("hpcbox: "), 500)


def _prefix() -> str:
    """Return the folder that this package stands in."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

"""Ranks that hydra's proxy starts on this node: where they write, and how their ends are learnt.

The proxy would send its ranks' output to mpiexec, merged and only as long as that lives. So each
rank is wrapped by a few lines of /bin/sh that connect it to two FIFOs of the agent's and tell its
start and its end by a third one. PMI goes through untouched (PMI_FD, an inherited descriptor), and
so does stdin, which mpiexec forwards to rank 0; the others would wait for its end. A fourth FIFO is
at its end when the shell is, so that a shell that was killed isn't waited for.

Loaded on nodes: standard library only.
"""

import os

from hpcbox.ranks import layout, rank_environment
from hpcbox.ranks.poller import Poller

_SCRIPT = "rank"
_STATUS = "status"
# The text of a report is a few words; a longer line is no report.
_MAX_LINE = 200
# Signals reach the rank as members of its group; the shell has to live on to tell its end. Only in
# a subshell the rank's stderr isn't also the shell's, which says there how the rank has died.
_LINES = """\
trap : HUP INT QUIT ALRM TERM USR1 USR2
folder={folder}
{exports}
exec >"$folder/$PMI_RANK.alive"
[ "$PMI_RANK" = {reader} ] || exec </dev/null
export SLURM_PROCID="$PMI_RANK" SLURM_LOCALID="$((PMI_RANK - {first}))"
echo "started $PMI_RANK $$" >"$folder/status"
if command -v "$1" >/dev/null 2>&1; then
	(exec "$@" >"$folder/$PMI_RANK.out" 2>"$folder/$PMI_RANK.err")
	status=$?
else
	echo "$1: not found in the image (PATH=$PATH)" >"$folder/$PMI_RANK.err"
	status=127
fi
echo "exited $PMI_RANK $status" >"$folder/status"
exit "$status"
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcbox.ranks.order import Order
    from hpcbox.ranks.spool import Spool


def script(order: "Order", inside: str) -> str:
    """Return the wrapper's text; `inside` is the folder of the FIFOs as ranks see it."""
    variables = rank_environment.node_variables(order)
    exports = "\n".join(f"export {name}={_quoted(value)}" for name, value in variables.items())
    return _LINES.format(
        folder=_quoted(inside), exports=exports, first=order.first_rank, reader=order.reader
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


class HydraRanks:
    """The FIFOs of this node's ranks.

    Args:
        order: this node's part.
        folder: an empty folder of the agent's own.
        inside: the same folder as ranks see it.
        poller: the event loop.
    """

    def __init__(self, order: "Order", folder: str, inside: str, poller: Poller) -> None:
        self._order = order
        self._folder = folder
        self._inside = inside
        self._poller = poller
        self._writers: dict[int, list[int]] = {}
        self._alive: dict[int, int] = {}
        self._status = -1
        self._pending = b""

    def prepare(
        self,
        spool: "Spool",
        started: "Callable[[int, int], None]",
        exited: "Callable[[int, int], None]",
        lost: "Callable[[int], None]",
    ) -> None:
        """Make the FIFOs and the wrapper.

        From now on (rank, pid) and (rank, code) are reported, and a rank whose shell has ended.

        Raises:
            OSError: the folder doesn't take them.
        """
        with open(f"{self._folder}/{_SCRIPT}", "w", encoding="utf-8") as file:
            file.write(script(self._order, self._inside))
        for rank in self._order.ranks:
            for stream, suffix in layout.SUFFIXES.items():
                spool.add(rank, stream, self._open(rank, f"{self._folder}/{rank}.{suffix}"))
            self._watch_shell(rank, lost)
        path = f"{self._folder}/{_STATUS}"
        os.mkfifo(path, 0o600)
        self._status = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poller.watch(self._status, lambda _events: self._read(started, exited))

    def command(self) -> list[str]:
        """Return the words that a proxy is to start for each rank."""
        return ["/bin/sh", f"{self._inside}/{_SCRIPT}", *self._order.command]

    def read_reports(
        self, started: "Callable[[int, int], None]", exited: "Callable[[int, int], None]"
    ) -> None:
        """Take what was reported before a proxy's end was."""
        self._read(started, exited)

    def ended(self, rank: int) -> None:
        """Let go of a rank's FIFOs: their end comes when its last child has let go too."""
        for writer in self._writers.pop(rank, ()):
            os.close(writer)

    def close(self) -> None:
        """Let go of everything."""
        for alive in self._alive.values():
            self._poller.close_watched(alive)
        self._alive.clear()
        for rank in list(self._writers):
            self.ended(rank)
        if self._status >= 0:
            self._poller.close_watched(self._status)
            self._status = -1

    def _watch_shell(self, rank: int, lost: "Callable[[int], None]") -> None:
        path = f"{self._folder}/{rank}.alive"
        os.mkfifo(path, 0o600)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._alive[rank] = reader

        def ended(_events: int) -> None:
            self._poller.close_watched(self._alive.pop(rank))
            lost(rank)

        self._poller.watch(reader, ended)

    def _open(self, rank: int, path: str) -> int:
        os.mkfifo(path, 0o600)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # Without a writer the FIFO would be at its end before the rank has begun.
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._writers.setdefault(rank, []).append(writer)
        return reader

    def _read(
        self, started: "Callable[[int, int], None]", exited: "Callable[[int, int], None]"
    ) -> None:
        try:
            block = os.read(self._status, 65536)
        except BlockingIOError:
            return
        *lines, rest = (self._pending + block).split(b"\n")
        self._pending = rest[:_MAX_LINE]
        for line in lines:
            words = line.split(b" ")
            if len(words) != 3 or not (words[1].isdigit() and words[2].isdigit()):
                continue
            rank, number = int(words[1]), int(words[2])
            if rank not in self._order.ranks:
                continue
            if words[0] == b"started":
                started(rank, number)
            elif words[0] == b"exited":
                exited(rank, number)

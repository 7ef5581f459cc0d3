"""What mpiexec.hydra says and is told when the launcher, not ssh, starts its proxies; pure.

With `-launcher manual` mpiexec prints a line `HYDRA_LAUNCH: PROGRAM ARGUMENTS…` for each host and
then `HYDRA_LAUNCH_END`; the host isn't in the line, its number in the list is (`--proxy-id`). What
follows is for people. Seen in MPICH 4.0 and 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcbox.errors import LaunchRefused, shorten

_PREFIX = b"HYDRA_LAUNCH: "
_END = b"HYDRA_LAUNCH_END"
_PROXY = "hydra_pmi_proxy"
_MAX_LINE = 16 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy to be started.

    Attributes:
        number: of the host, from 0, in the order that mpiexec was told.
        words: program and arguments.
    """

    number: int
    words: tuple[str, ...]


def mpiexec_words(
    mpiexec: str, hosts: Sequence[tuple[str, int]], address: str, tasks: int
) -> list[str]:
    """Return the words that start mpiexec, without the ranks' command.

    Hydra kills all ranks when one ends badly; to keep it from that (-disable-auto-cleanup) makes
    4.2.1 end with SIGPIPE in 3 of 10 runs that go well.

    Args:
        mpiexec: its path.
        hosts: name and number of ranks of each node.
        address: of the first node, where the proxies connect to.
        tasks: number of ranks.
    """
    listed = ",".join(f"{name}:{count}" for name, count in hosts)
    return [
        *(mpiexec, "-launcher", "manual", "-localhost", address),
        *("-hosts", listed, "-n", str(tasks)),
    ]


def words_for_people(printed: bytes) -> str:
    """Return what mpiexec and its proxies printed, without hydra's frames and traces."""
    lines = printed.decode("utf-8", "replace").splitlines()
    return "\n".join(line for line in lines if line.strip("= ") and line[0] not in "=[")


class LaunchLines:
    """Takes mpiexec's stdout as it comes; gives proxies until the last one, and then the rest.

    Args:
        hosts: how many proxies there must be.
    """

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts
        self._pending = b""
        self._seen: set[int] = set()
        self._is_over = False

    def feed(self, block: bytes) -> tuple[list[Proxy], bytes]:
        """Return the proxies to start now, and the bytes that are for people.

        Raises:
            LaunchRefused: a line is no launch of a proxy of this launch.
        """
        if self._is_over:
            return [], block
        *lines, self._pending = (self._pending + block).split(b"\n")
        if len(self._pending) > _MAX_LINE:
            raise LaunchRefused("mpiexec.hydra printed a line without end")
        proxies = []
        passed = b""
        for position, line in enumerate(lines):
            if line.startswith(_PREFIX):
                proxies.append(self._proxy(line.removeprefix(_PREFIX)))
            elif line == _END:
                self._is_over = True
                rest = [*lines[position + 1 :], self._pending]
                self._pending = b""
                return proxies, passed + b"\n".join(rest)
            else:
                passed += line + b"\n"
        return proxies, passed

    def _proxy(self, line: bytes) -> Proxy:
        words = line.decode("utf-8", "surrogateescape").split()
        number = words[-1] if "--proxy-id" in words[-2:-1] else ""
        known = number.isascii() and number.isdigit() and int(number) < self._hosts
        if not known or words[0].rpartition("/")[2] != _PROXY or int(number) in self._seen:
            text = shorten(line.decode("utf-8", "replace"))
            raise LaunchRefused(f"mpiexec.hydra asked for something unknown: {text}")
        self._seen.add(int(number))
        return Proxy(int(number), tuple(words))

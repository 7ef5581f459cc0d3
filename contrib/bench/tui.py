"""make bench-tui: what the screens cost, against Textual's own floor and against peers.

Every program runs on a pseudo terminal of 160 by 48 that takes all it writes. Costs are CPU
seconds, which a busy machine hardly changes; only latencies are wall time. Words choose parts:
start queue ranks log latency slurm peers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "contrib" / "bench")]

import tui_output  # noqa: E402
import tui_peers  # noqa: E402
import tui_queue  # noqa: E402
import tui_real  # noqa: E402
from report import Figure, publish  # noqa: E402

PARTS = {
    "start": tui_queue.first_paint,
    "queue": tui_queue.large_queue,
    "ranks": tui_output.ranks,
    "log": tui_output.large_log,
    "latency": tui_output.latencies,
    "slurm": tui_real.real_queue,
    "peers": tui_peers.peers,
}


def main() -> int:
    """Run the parts that were named, or all of them; return the exit code."""
    figures: list[Figure] = []
    names = sys.argv[1:] or list(PARTS)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="hpcbox-bench-") as folder:
            figures += PARTS[name](Path(folder))
    return publish("tui", figures)


if __name__ == "__main__":
    sys.exit(main())

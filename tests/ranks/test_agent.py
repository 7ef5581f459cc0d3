"""The agent by itself, over pipes: a launcher that lies, goes silent, or goes away."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hpcbox
from hpcbox.ranks import agent_command, frames
from tests.services.commands import wait_until
from tests.services.spec import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = frames.encode(frames.HELLO, frames.VERSION, hpcbox.__version__, "")


@contextmanager
def agent() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        agent_command.words(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def said(output: bytes) -> list[frames.Frame]:
    """The frames of an agent's stdout, signs of life left out."""
    noise, marker, stream = output.partition(frames.MARKER)
    assert (noise, marker) == (b"", frames.MARKER)
    return [frame for frame in frames.Parser().feed(stream) if frame.kind != frames.PING]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the protocol has no frame"),
        (HELLO + frames.encode(frames.ORDER, ["job=1"]), "order can't be read"),
        (HELLO + frames.encode(frames.START, ["env", "127.0.0.1"]), "without an order"),
        (HELLO + frames.encode(frames.START, []), "too short"),
        (HELLO + b"\x01\0\0\0\x0d\0", "cut short"),
        (frames.encode(frames.HELLO, 99, "0", ""), "install one version"),
    ],
)
def test_a_launcher_that_breaks_the_protocol_is_told_and_left(stream: bytes, reason: str) -> None:
    with agent() as process:
        assert process.stdin is not None
        process.stdin.write(stream)
        process.stdin.flush()

        # The agent ends by itself: its stdin is still open.
        assert process.wait(timeout=10) == 0
        assert process.stdout is not None
        last = said(process.stdout.read())[-1]

    assert last.kind == frames.FAILED
    assert reason in last.values[0]


def test_an_agent_whose_launcher_has_gone_ends_with_its_keeper() -> None:
    with agent() as process:
        assert process.stdout is not None
        assert process.stdout.read(len(frames.MARKER)) == frames.MARKER
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1

        process.communicate(timeout=10)

        assert process.returncode == 0
        wait_until(
            lambda: not Path(f"/proc/{children[0]}").exists(),
            timeout_seconds=10,
            what="the keeper has ended",
        )


def test_an_agent_whose_launcher_is_silent_ends() -> None:
    with agent() as process:
        assert process.stdin is not None
        process.stdin.write(HELLO)
        process.stdin.flush()

        assert process.wait(timeout=15) == 0


def test_the_agent_loads_no_heavy_module() -> None:
    everything = (
        "agent, node_ranks, node_image, hydra_node, image_mpi, rank_environment, own_folder"
    )
    script = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); "
        f"from hpcbox.ranks import {everything}; from hpcbox.container import user_mode; "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )

    heavy = {"json", "re", "enum", "typing", "dataclasses", "pathlib", "logging", "tomllib"}
    assert not set(done.stdout.split()) & (
        heavy | {"asyncio", "collections", "signal", "selectors"}
    )

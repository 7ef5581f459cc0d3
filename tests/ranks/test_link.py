"""The launcher's end of an agent: noise, versions, cut and forged streams, silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcbox
from hpcbox.errors import AgentFailed, HpcboxError, RankLost
from hpcbox.ranks import frames
from hpcbox.ranks.link import Link

GREETING = frames.MARKER + frames.encode(frames.HELLO, frames.VERSION, hpcbox.__version__, "n1")


class Watched:
    """A link, and what it told."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, tuple[object, ...]]] = []
        self.errors: list[HpcboxError] = []
        self.link = Link("n1", self._receive, self.errors.append)

    def _receive(self, frame: frames.Frame) -> None:
        self.frames.append((frame.kind, frame.values))


@given(noise=st.binary(max_size=300), cut=st.integers(1, 50))
def test_what_a_login_shell_prints_is_passed_over(noise: bytes, cut: int) -> None:
    watched = Watched()
    stream = noise.replace(b"\0", b"") + GREETING + frames.encode(frames.STARTED, 3, 77)

    for start in range(0, len(stream), cut):
        watched.link.take_output(stream[start : start + cut])

    assert watched.frames == [(frames.STARTED, (3, 77))]
    assert not watched.errors


@given(stream=st.binary(max_size=300))
def test_a_forged_stream_ends_the_link_at_most(stream: bytes) -> None:
    watched = Watched()

    watched.link.take_output(GREETING + stream)

    assert all(isinstance(error, AgentFailed) for error in watched.errors)


def test_a_shell_that_prints_without_end_is_refused() -> None:
    watched = Watched()

    watched.link.take_output(b"x" * (frames.MAX_NOISE + 1))

    assert "prints without end" in str(watched.errors[0])


def test_frames_before_the_greeting_are_refused() -> None:
    watched = Watched()

    watched.link.take_output(frames.MARKER + frames.encode(frames.STARTED, 3, 77))

    assert "before it greeted" in str(watched.errors[0])
    assert not watched.frames


@pytest.mark.parametrize(
    ("version", "release"), [(frames.VERSION + 1, hpcbox.__version__), (frames.VERSION, "0.0")]
)
def test_another_version_is_refused(version: int, release: str) -> None:
    watched = Watched()

    watched.link.take_output(frames.MARKER + frames.encode(frames.HELLO, version, release, "n1"))

    assert "install one version on all nodes" in str(watched.errors[0])


def test_an_end_before_the_greeting_shows_the_last_words_without_control_characters() -> None:
    watched = Watched()
    watched.link.take_errors(b"a\nno \x1b[31mpython\n")

    watched.link.ended("it ended with exit code 127")

    assert isinstance(watched.errors[0], AgentFailed)
    assert "exit code 127: no \\x1b[31mpython" in str(watched.errors[0])


def test_an_end_later_is_a_lost_node_and_told_once() -> None:
    watched = Watched()
    watched.link.take_output(GREETING)

    watched.link.ended("the connection was cut")
    watched.link.ended("the connection was cut")

    assert [type(error) for error in watched.errors] == [RankLost]

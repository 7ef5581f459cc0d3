"""The agent's protocol: what is written is read again, and nothing else hangs or crashes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.errors import AgentFailed
from hpcbox.ranks import frames

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = {
    "i": st.integers(0, 2**32 - 1),
    "q": st.integers(0, 2**64 - 1),
    "t": TEXTS,
    "b": st.binary(max_size=50),
    "l": st.lists(TEXTS, max_size=5),
}
MESSAGES = st.sampled_from(sorted(frames.LAYOUTS)).flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.tuples(*(VALUES[code] for code in frames.LAYOUTS[kind]))
    )
)


@given(messages=st.lists(MESSAGES, max_size=5), cut=st.integers(1, 40))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    messages: list[tuple[int, tuple[object, ...]]], cut: int
) -> None:
    stream = b"".join(frames.encode(kind, *values) for kind, values in messages)  # type: ignore[arg-type]
    parser = frames.Parser()

    read = [
        frame
        for start in range(0, len(stream), cut)
        for frame in parser.feed(stream[start : start + cut])
    ]

    assert [(frame.kind, frame.values) for frame in read] == messages


@given(stream=st.binary(max_size=400), cut=st.integers(1, 40))
def test_a_forged_stream_gives_frames_or_an_error_and_nothing_else(stream: bytes, cut: int) -> None:
    parser = frames.Parser()

    with suppress(AgentFailed):
        for start in range(0, len(stream), cut):
            parser.feed(stream[start : start + cut])


@given(kind=st.sampled_from(sorted(frames.LAYOUTS)), payload=st.binary(max_size=200))
def test_a_forged_payload_gives_values_or_an_error_and_nothing_else(
    kind: int, payload: bytes
) -> None:
    try:
        values = frames.decode(kind, payload)
    except AgentFailed:
        return

    assert len(values) == len(frames.LAYOUTS[kind])


def test_a_frame_longer_than_allowed_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(AgentFailed, match="no frame of kind 16"):
        frames.Parser().feed((frames.MAX_PAYLOAD + 1).to_bytes(4, "little") + b"\x10")


def test_a_list_that_claims_more_texts_than_it_has_is_refused() -> None:
    with pytest.raises(AgentFailed, match="cut short"):
        frames.decode(frames.START, b"\xff\xff\xff\xff")


def test_more_than_a_frame_holds_is_refused_where_it_is_written() -> None:
    with pytest.raises(AgentFailed, match="longer than"):
        frames.encode(frames.STDIN, bytes(frames.MAX_PAYLOAD + 1))

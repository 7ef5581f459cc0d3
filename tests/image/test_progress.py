"""What people and scripts see of a pull: lines that fit, rates of now, and a beat in silence."""

import json
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.image.meter import Meter
from hpcbox.image.noting import Noting
from hpcbox.image.progress import PhaseLines, Progress, as_json, duration_text, size_text

NAME = "registry.site:5000/group/image:1"
PULLING = Progress(
    "pulling", NAME, 2, 5, 345_000_000, 756_000_000, seconds=9.0, rate_bytes=98_000_000
)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds since nothing in particular."""
        return self.now


def made_meter() -> tuple[Meter, Clock, list[Progress]]:
    clock, seen = Clock(), list[Progress]()
    return Meter(seen.append, clock=clock), clock, seen


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress("resolving", "a:1"), "resolving a:1"),
        (Progress("resolving", "a:1", idle_seconds=7.2), "resolving a:1: no answer for 7 s"),
        (Progress("pulling", "a:1"), "pulling a:1"),
        (
            Progress("pulling", "a:1", 0, 2, 1000, 4000, rate_bytes=500.0),
            "pulling a:1: 25 %, 500 B/s, 0:06 left, 1.0 KB of 4.0 KB, 0 of 2 layers",
        ),
        (
            Progress("pulling", "a:1", 0, 2, 1000, 4000, rate_bytes=500.0, idle_seconds=12.3),
            "pulling a:1: 25 %, no data for 12 s, 1.0 KB of 4.0 KB, 0 of 2 layers",
        ),
        (Progress("waiting", "a:1"), "waiting for a:1: another pull fetches it"),
        (
            Progress("waiting", "a:1", 1, 2, others_done=34, others_total=100),
            "waiting for a:1: another pull has 34 %, 1 of 2 layers",
        ),
        (Progress("syncing", "a:1", 1, 2), "writing to disk a:1: 1 of 2 layers"),
        (
            Progress("unpacking", "a:1", 1, 2, idle_seconds=4.0),
            "unpacking a:1: for 4 s, 1 of 2 layers",
        ),
        (
            Progress("ready", "a:1", 2, 2, 4000, 4000, 2.0, stored_bytes=9000),
            "ready a:1: 4.0 KB in 2.0 s, 2.0 KB/s, 9.0 KB in the store",
        ),
        (
            Progress("ready", "a:1", stored_bytes=9000),
            "ready a:1: nothing to fetch, 9.0 KB in the store",
        ),
    ],
    ids=lambda value: value.phase if isinstance(value, Progress) else "",
)
def test_each_phase_has_its_line(progress: Progress, line: str) -> None:
    assert progress.line() == line


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (104, f"pulling {NAME}: 45 %, 98.0 MB/s, 0:04 left, 345 MB of 756 MB, 2 of 5 layers"),
        (80, "pulling registry.sit…roup/image:1: 45 %, 98.0 MB/s, 0:04 left, 345 MB of 756 MB"),
        (40, "pulling registr…image:1: 45 %, 98.0 MB/s"),
        (30, "pulling registr…image:1: 45 %"),
        (12, "pulling"),
    ],
)
def test_a_narrow_terminal_gets_what_matters_most(width: int, line: str) -> None:
    assert PULLING.line(width) == line


@given(
    phase=st.sampled_from(("resolving", "pulling", "waiting", "syncing", "ready", "other")),
    image=st.text(max_size=80),
    width=st.integers(1, 200),
    numbers=st.tuples(*[st.integers(0, 10**15)] * 6),
    seconds=st.floats(0, 10**9),
)
def test_a_line_fits_and_moves_no_cursor(
    phase: str, image: str, width: int, numbers: tuple[int, ...], seconds: float
) -> None:
    layers, done, total, others, others_total, stored = numbers
    progress = Progress(
        phase, image, layers, layers, done, total, seconds,
        seconds, seconds / 7, others, others_total, stored,
    )  # fmt: skip

    line = progress.line(width)

    assert len(line) <= width
    assert line.isprintable()
    assert progress.line().isprintable()


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter, clock, seen = made_meter()
    meter.expect_bytes(2000)
    with meter.at("pulling"):
        for _ in range(10):
            clock.now += 1
            meter.received(bytes(100))
        for _ in range(10):
            clock.now += 1
            meter.received(bytes(10))

    assert seen[-1].rate_bytes == pytest.approx(10, rel=0.01)
    assert seen[-1].bytes_done == 1100
    assert seen[-1].seconds_left() == pytest.approx(90, rel=0.01)


def test_the_phase_is_that_of_the_busiest_layer() -> None:
    meter, _, seen = made_meter()
    meter.phase("pulling", "a:1")
    meter.expect_bytes(10)
    with meter.waiting():
        with meter.at("pulling"):
            meter.received(bytes(10))
        with meter.at("syncing"):
            pass
    with meter.at("syncing"):
        pass
    meter.phase("ready")

    assert [one.phase for one in seen] == ["pulling", "waiting", "pulling", "waiting", "syncing", "ready"]  # fmt: skip # noqa: E501


def test_a_pull_whose_bytes_are_all_here_unpacks() -> None:
    meter, _, seen = made_meter()
    meter.phase("pulling", "a:1")
    meter.expect_bytes(10)
    with meter.at("pulling"):
        meter.received(bytes(10))

    assert seen[-1].phase == "unpacking"


def test_a_pull_to_which_nothing_happens_is_reported_all_the_same() -> None:
    beaten = threading.Event()
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 3:
            beaten.set()

    with Meter(report):
        assert beaten.wait(10)

    assert [one.phase for one in seen[:3]] == ["resolving"] * 3
    assert 0.9 <= seen[2].idle_seconds - seen[1].idle_seconds <= 5
    assert seen[2].seconds >= 1.9


def test_a_report_that_fails_in_silence_harms_nobody() -> None:
    told = threading.Event()

    def report(_progress: Progress) -> None:
        if threading.current_thread().name == "progress":
            told.set()
            raise BrokenPipeError

    with Meter(report) as meter:
        assert told.wait(10)
        meter.phase("ready")


def lines_of(events: list[Progress]) -> list[str]:
    lines: list[str] = []
    show = PhaseLines(lines.append)
    for event in events:
        show(event)
    return [line.split()[0] for line in lines]


def test_lines_come_with_phases_and_every_ten_seconds() -> None:
    events = [Progress("pulling", "a:1", seconds=float(second)) for second in range(25)]

    assert lines_of([Progress("resolving", "a:1"), *events, Progress("ready", "a:1")]) == [
        "resolving", "pulling", "pulling", "pulling", "ready",
    ]  # fmt: skip


def test_phases_that_pass_quickly_get_no_line() -> None:
    pulling, quick = Progress("pulling", "a:1"), Progress("syncing", "a:1")
    slow = Progress("syncing", "a:1", idle_seconds=1.0, seconds=3.0)

    assert lines_of([pulling, quick, pulling, quick, pulling]) == ["pulling"]
    assert lines_of([pulling, quick, slow, slow]) == ["pulling", "writing"]


def test_an_event_is_json_with_all_that_is_documented() -> None:
    event = json.loads(json.dumps(as_json(PULLING)))

    assert event == {
        "phase": "pulling",
        "image": NAME,
        "layers_done": 2,
        "layers": 5,
        "bytes_done": 345_000_000,
        "bytes_total": 756_000_000,
        "seconds": 9.0,
        "rate_bytes": 98_000_000,
        "idle_seconds": 0.0,
        "others_done": 0,
        "others_total": 0,
        "stored_bytes": 0,
        "note": "",
        "seconds_left": 4.19,
    }
    assert as_json(Progress("resolving", ""))["seconds_left"] is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("0:07", 7.2), ("1:00", 59.6), ("2:03:04", 7384), ("99:59:59", 10**9)],
)
def test_durations_are_short(text: str, value: float) -> None:
    assert duration_text(value) == text


@pytest.mark.parametrize(
    ("text", "value"), [("0 B", 0), ("1.0 KB", 999.6), ("99.4 MB", 99.4e6), ("100 MB", 99.6e6)]
)
def test_sizes_are_short(text: str, value: float) -> None:
    assert size_text(value) == text


def test_a_note_stays_until_something_comes() -> None:
    seen: list[Progress] = []
    noting = Noting(seen.append)

    noting(PULLING)
    noting.notice("the registry asks to wait 20 s")
    noting(replace(PULLING, seconds=10.0))
    noting(replace(PULLING, bytes_done=PULLING.bytes_done + 1))

    wait = "the registry asks to wait 20 s"
    assert [progress.note for progress in seen] == ["", wait, wait, ""]
    assert wait in seen[1].line()
    assert wait in seen[1].line(60)


def test_a_note_gets_a_line_of_its_own_at_once() -> None:
    lines: list[str] = []
    noting = Noting(PhaseLines(lines.append))

    noting(Progress("resolving", NAME))
    noting.notice("the registry asks to wait 20 s")

    assert lines == [
        f"resolving {NAME}",
        f"resolving {NAME}: the registry asks to wait 20 s",
    ]

"""Blobs that are cut, delayed and refused in the middle, and still come whole."""

import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hpcbox.errors import RegistryUnreachable
from hpcbox.image.retrying import Patience, retry_after
from tests.image.sourcing import descriptor, source, whole
from tests.services.bad_registry import BadRegistry, Fault

BODY = os.urandom(300_000)


@pytest.fixture(params=[True, False], ids=["ranges", "no ranges"])
def registry(request: pytest.FixtureRequest) -> Iterator[BadRegistry]:
    with BadRegistry(knows_ranges=request.param) as running:
        running.push_blob("a/b", BODY)
        yield running


@pytest.fixture
def ranged() -> Iterator[BadRegistry]:
    with BadRegistry(knows_ranges=True) as running:
        running.push_blob("a/b", BODY)
        yield running


def fetched(registry: BadRegistry, **options: float) -> bytes:
    stream = source(registry.address, **options).open_blob(descriptor(BODY))  # type: ignore[arg-type]
    try:
        return whole(stream)
    finally:
        stream.close()


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_a_blob_that_is_cut_goes_on(registry: BadRegistry, *, reset: bool) -> None:
    registry.spoil("blobs", Fault(cut_after=100_000, reset=reset, times=1))

    assert fetched(registry) == BODY
    assert len(registry.received) == 2


def test_what_came_already_is_not_sent_again(ranged: BadRegistry) -> None:
    ranged.spoil("blobs", Fault(cut_after=2**18, times=1))

    assert fetched(ranged) == BODY
    assert ranged.received[1][1]["Range"] == f"bytes={2**18}-{len(BODY) - 1}"
    assert sum(ranged.sent.values()) == len(BODY)


def test_a_blob_that_stalls_goes_on(registry: BadRegistry) -> None:
    registry.spoil("blobs", Fault(stall_after=100_000, times=1))

    assert fetched(registry, stall_seconds=0.3) == BODY


def test_a_server_error_while_going_on_is_borne(registry: BadRegistry) -> None:
    registry.spoil("blobs", Fault(cut_after=100_000, times=1))
    registry.spoil("blobs", Fault(status=503, times=1))

    assert fetched(registry) == BODY


def test_a_range_other_than_the_one_asked_for_is_not_taken(ranged: BadRegistry) -> None:
    ranged.spoil("blobs", Fault(cut_after=100_000, times=1))
    ranged._first = lambda headers: 7 if "Range" in headers else 0  # type: ignore[method-assign]

    assert fetched(ranged) == BODY
    assert len(ranged.received) == 3


def test_a_range_that_is_refused_is_no_end(ranged: BadRegistry) -> None:
    ranged.spoil("blobs", Fault(cut_after=100_000, times=1))
    ranged.spoil("blobs", Fault(status=416, times=1))

    assert fetched(ranged) == BODY


def test_a_strong_validator_is_sent_along_and_a_weak_one_not(ranged: BadRegistry) -> None:
    ranged.spoil("blobs", Fault(cut_after=1000, headers={"ETag": '"one"'}, times=1))
    ranged.spoil("blobs", Fault(cut_after=1000, headers={"ETag": 'W/"two"'}, times=1))

    assert fetched(ranged) == BODY
    sent = [headers.get("If-Range") for _, headers in ranged.received]
    assert sent == [None, '"one"', None]


def test_a_redirect_is_asked_for_again_when_its_address_has_expired(ranged: BadRegistry) -> None:
    with BadRegistry(knows_ranges=True) as storage:
        for number in range(2):
            storage.serve(f"/signed-{number}", BODY)
            there = f"http://{storage.address}/signed-{number}"
            ranged.spoil("blobs", Fault(status=307, headers={"Location": there}, times=1))
        storage.spoil("signed-0", Fault(cut_after=100_000, times=1))
        storage.spoil("signed-0", Fault(status=403))

        assert fetched(ranged) == BODY
        assert storage.paths() == ["/signed-0", "/signed-1"]


@pytest.mark.parametrize("length", [len(BODY) + 1000, len(BODY) - 1000])
def test_a_wrong_length_gives_no_more_than_the_bytes_that_are_there(
    ranged: BadRegistry, length: int
) -> None:
    ranged.spoil("blobs", Fault(length=length))

    assert fetched(ranged) == BODY[:length]


def test_bytes_beyond_the_promised_size_reach_the_one_who_verifies(ranged: BadRegistry) -> None:
    ranged.spoil("blobs", Fault(alter=lambda body: body + b"more"))

    assert len(fetched(ranged)) > len(BODY)


def test_a_registry_that_always_cuts_is_given_up_after_some_attempts() -> None:
    with BadRegistry() as registry:
        registry.push_blob("a/b", BODY)
        registry.spoil("blobs", Fault(cut_after=10))

        with pytest.raises(RegistryUnreachable, match="cut a transfer"):
            fetched(registry, retry_seconds=2)

        assert 2 <= len(registry.received) <= 5


def test_an_end_from_outside_wakes_who_waits_for_the_next_attempt(ranged: BadRegistry) -> None:
    ranged.spoil("blobs", Fault(cut_after=10))
    waits = threading.Event()
    asked = source(ranged.address, notice=lambda _text: waits.set(), sleep=None)
    stream = asked.open_blob(descriptor(BODY))
    failures: list[Exception] = []

    def read() -> None:
        try:
            whole(stream)
        except RegistryUnreachable as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert waits.wait(10)
    stream.abort()
    reader.join(10)
    stream.close()

    assert not reader.is_alive()
    assert "ended" in str(failures[0])


def test_pieces_are_read_whole_although_they_are_cut(registry: BadRegistry) -> None:
    registry.spoil("blobs", Fault(cut_after=5, times=1))

    pieces = source(registry.address).read_windows(descriptor(BODY), [(1000, 50), (299_990, 50)])

    assert pieces == [BODY[1000:1050], BODY[-10:]]


def test_a_registry_that_asks_to_wait_is_obeyed_and_it_is_told(ranged: BadRegistry) -> None:
    ranged.spoil("blobs", Fault(status=429, headers={"Retry-After": "20"}, times=1))
    slept: list[float] = []
    told: list[str] = []
    asked = source(ranged.address, notice=told.append, sleep=slept.append)

    assert whole(asked.open_blob(descriptor(BODY))) == BODY
    assert told == ["the registry asks to wait 20 s"]
    assert 20 <= slept[0] < 21


def test_a_registry_that_asks_to_wait_too_long_is_not_waited_for(ranged: BadRegistry) -> None:
    ranged.spoil("blobs", Fault(status=429, headers={"Retry-After": "3600"}))

    with pytest.raises(RegistryUnreachable, match="asks to wait 3600 s") as caught:
        source(ranged.address).open_blob(descriptor(BODY))

    assert "hpcbox login" in str(caught.value)
    assert len(ranged.received) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0),
        ("Thu, 01 Jan 2026 00:00:30 -0000", 30),
        ("soon", None),
        ("-5", None),
        ("9" * 5000, 999_999_999),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


FAILURE = RegistryUnreachable("it failed")


def attempts(patience: Patience, *, gained: int = 0, known: bool = True, most: int = 100) -> int:
    for number in range(most):
        patience.progressed(gained)
        try:
            patience.wait(FAILURE, known=known)
        except RegistryUnreachable:
            return number
    return most


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.now += seconds

    def __call__(self) -> float:
        """What time it is."""
        return self.now


def patience(seconds: float, **options: float) -> Patience:
    clock = Clock()
    return Patience(seconds, sleep=clock.sleep, clock=clock, jitter=lambda: 0.5, **options)  # type: ignore[arg-type]


def test_a_registry_that_never_answered_gets_fewer_attempts() -> None:
    assert attempts(patience(90), known=False) == 2
    assert attempts(patience(90)) == 4


def test_attempts_end_with_their_time() -> None:
    assert attempts(patience(3)) == 2
    assert attempts(patience(90, deadline=1)) == 1
    assert attempts(patience(0)) == 0


def test_progress_begins_the_count_anew_but_not_for_ever() -> None:
    assert attempts(patience(90), gained=2**20) == 64
    assert attempts(patience(90), gained=10) == 4


def test_the_digest_of_a_blob_cut_ten_times_is_right(ranged: BadRegistry) -> None:
    body = os.urandom(11 * 2**20)
    ranged.push_blob("a/b", body)
    ranged.spoil("blobs", Fault(cut_after=2**20, times=10))
    stream = source(ranged.address).open_blob(descriptor(body))

    assert hashlib.sha256(whole(stream)).digest() == hashlib.sha256(body).digest()
    assert len(ranged.received) == 11

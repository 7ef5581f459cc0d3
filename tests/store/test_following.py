"""Flights of several processes for one layer: one fetches, and nobody waits for a lame one."""

import os
import threading
from pathlib import Path

import pytest

from hpcbox.image.progress import Progress  # noqa: TC001 - one style of imports
from hpcbox.store import following, layers, locks, paths
from hpcbox.store.following import Flight, Overtaken, Pace, Patience
from hpcbox.store.pull import Limits
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.small_images import digest, file, push_image, tar
from tests.store.pulling import pull_here, scratch

LAYER = tar(*[file(f"f{number}", os.urandom(20_000)) for number in range(50)])
IMPATIENT = Limits(2**34, 10**6, 3, Patience(10_000_000, 0.6))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds since nothing in particular."""
        return self.now


@pytest.mark.parametrize(
    ("steps", "verdicts"),
    [
        ([(5, 400, 900)], [False]),
        ([(10, 999, 2000)], [True]),
        ([(10, 1000, 2000)], [False]),
        ([(10, 1500, 9000), (5, 1500, 9000), (5, 2000, 9000)], [False, False, True]),
        ([(10, 5000, 9000), (10, 3, 9000), (9, 3, 9000)], [False, False, False]),
        ([(10, 900, 900), (10, 900, 900), (80, 900, 900)], [False, False, True]),
        ([(10, 0, 0)], [True]),
    ],
    ids=["window runs", "too slow", "at the floor", "slows down", "anew", "disk", "silent"],
)
def test_a_flight_is_slow_by_what_it_brings_in_a_window(
    steps: list[tuple[int, int, int]], verdicts: list[bool]
) -> None:
    clock = Clock()
    pace = Pace(Patience(100, 10), clock)
    found = []

    for passed, done, total in steps:
        clock.now += passed
        found.append(pace.is_slow(done, total))

    assert found == verdicts


def test_without_a_floor_no_flight_is_slow() -> None:
    clock = Clock()
    pace = Pace(Patience(0, 10), clock)
    clock.now += 10_000

    assert not pace.is_slow(0, 100)


def test_a_holder_s_note_is_read_by_its_followers(store: Path) -> None:
    paths.prepare(str(store))
    path = paths.layer_lock(str(store), "a" * 64)

    with locks.wait(path) as lock:
        Flight(paths.layer(str(store), "a" * 64), lock, 7000, received=12).tell()
        assert following.noted(path) == (12, 7000)

    Path(path).write_text("nonsense")
    assert following.noted(path) == following.noted(path + ".none") == (0, 0)


def test_a_flight_ends_when_another_has_published(store: Path) -> None:
    paths.prepare(str(store))
    folder = Path(paths.layer(str(store), "a" * 64))
    with locks.wait(paths.layer_lock(str(store), "a" * 64)) as lock:
        flight = Flight(str(folder), lock, 10)
        flight.note(5)
        folder.mkdir()

        with pytest.raises(Overtaken):
            flight.note(5)


def lame_first(registry: BadRegistry, name: str, fault: Fault) -> str:
    push_image(registry, name, LAYER, how="none")
    registry.spoil(f"/blobs/{digest(LAYER)}", fault)
    return f"{registry.address}/{name}"


def started(image: str, store: Path, **options: object) -> tuple[threading.Thread, list[object]]:
    ends: list[object] = []

    def run() -> None:
        try:
            ends.append(pull_here(image, store, **options))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ends


def wait_for_blob(registry: BadRegistry) -> None:
    deadline = threading.Event()
    for _ in range(500):
        if any(digest(LAYER) in path for path in registry.paths()):
            return
        deadline.wait(0.02)
    raise AssertionError(registry.paths())


@pytest.mark.parametrize("grant_to", [None, 1000])
def test_a_follower_of_a_lame_flight_fetches_by_itself_and_both_succeed(
    bad_registry: BadRegistry, store: Path, grant_to: int | None
) -> None:
    image = lame_first(bad_registry, "lame/image:1", Fault(trickle=200_000, times=1))
    lame, ends = started(image, store, grant_to=grant_to)
    wait_for_blob(bad_registry)
    seen: list[Progress] = []

    record = pull_here(image, store, limits=IMPATIENT, seen=seen, grant_to=grant_to)

    lame.join(20)
    assert [getattr(end, "digest", end) for end in ends] == [record.digest]
    # Who had only waited would have fetched nothing.
    assert sum(digest(LAYER) in path for path in bad_registry.paths()) >= 2
    assert seen[-1].bytes_done >= len(LAYER)
    assert "waiting" in {one.phase for one in seen}
    assert seen[-1].bytes_done == seen[-1].bytes_total
    layer = layers.read(str(store), record.layers[0])
    assert layer is not None
    assert (len(layer.origins), len(layer.samples)) == (1, 1)
    assert (scratch(store), os.listdir(store / "leases")) == ([], [])


def test_who_is_overtaken_doesn_t_care_that_its_registry_died(
    bad_registry: BadRegistry, store: Path
) -> None:
    image = lame_first(bad_registry, "dying/image:1", Fault(stall_after=100_000, times=1))
    lame, ends = started(image, store, stall_seconds=3.0)
    wait_for_blob(bad_registry)

    record = pull_here(image, store, limits=IMPATIENT)

    lame.join(20)
    assert [getattr(end, "digest", end) for end in ends] == [record.digest]


def test_patient_followers_fetch_nothing(bad_registry: BadRegistry, store: Path) -> None:
    image = lame_first(bad_registry, "patient/image:1", Fault(trickle=600_000, times=1))
    first, ends = started(image, store)
    wait_for_blob(bad_registry)
    seen: list[Progress] = []

    pull_here(image, store, seen=seen)

    first.join(20)
    assert len(ends) == 1
    assert sum(digest(LAYER) in path for path in bad_registry.paths()) == 1
    assert (seen[-1].bytes_done, seen[-1].bytes_total) == (0, 0)
    assert max(one.others_done for one in seen) > 0
    assert "another pull has" in "".join(one.line() for one in seen)

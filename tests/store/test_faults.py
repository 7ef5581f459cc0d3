"""Registries that fail in the middle of a pull: the store has each layer whole or not at all."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcbox.errors import ImageError
from hpcbox.image.reference import parse
from hpcbox.rootfs.sources import source_of
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.settings import Settings
from hpcbox.store import collect, images
from hpcbox.store.images import ImageRecord
from hpcbox.store.pull import pull
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.small_images import digest, file, push_image, tar
from tests.store.pulling import LIMITS, pull_as, pull_here, scratch, visible

SERVICE, ALICE = 65533, 65532
FIRST = tar(*[file(f"a{number}", os.urandom(20_000)) for number in range(20)])
SECOND = tar(*[file(f"b{number}", os.urandom(20_000)) for number in range(20)])


def flipped(body: bytes) -> bytes:
    half = len(body) // 2
    return body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]


FAULTS = {
    "cut": Fault(cut_after=200_000),
    "reset": Fault(cut_after=200_000, reset=True),
    "empty": Fault(cut_after=0),
    "stalled": Fault(stall_after=200_000),
    "slow": Fault(trickle=1_000_000),
    "corrupt": Fault(alter=flipped),
    "longer": Fault(alter=lambda body: body + b"x"),
    "shorter": Fault(alter=lambda body: body[:-1]),
    "promising more": Fault(length=10**7),
    "promising less": Fault(length=1000),
    "failing": Fault(status=503),
    "refusing": Fault(status=403),
    "losing": Fault(status=404),
}


def quick_pull(image: str, store: Path) -> ImageRecord:
    settings = Settings(store=str(store), stall_seconds=0.4, retry_seconds=0.5, timeout_seconds=2)
    source = source_of(parse(image), settings)
    return pull(source, settings.store, DirectorySink(), LIMITS, lambda _progress: None)


def check_whole(store: Path) -> None:
    whole = {digest(layer).removeprefix("sha256:"): layer for layer in (FIRST, SECOND)}
    for name in os.listdir(store / "layers"):
        assert len(os.listdir(store / "layers" / name / "fs")) == 20
        assert name in whole
    deadline = time.monotonic() + 5
    while scratch(store) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (scratch(store), os.listdir(store / "leases")) == ([], [])


def spoiled(registry: BadRegistry, fault: Fault, times: int | None) -> str:
    push_image(registry, "faulty/image:1", FIRST, SECOND, how="none")
    registry.spoil(f"/blobs/{digest(SECOND)}", replace(fault, times=times))
    return f"{registry.address}/faulty/image:1"


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_registry_that_fails_leaves_whole_layers_or_none(
    bad_registry: BadRegistry, store: Path, name: str, times: int | None
) -> None:
    image = spoiled(bad_registry, FAULTS[name], times)
    ended: ImageRecord | ImageError
    try:
        ended = quick_pull(image, store)
    except ImageError as error:
        ended = error

    shown = [one for one in visible(store) if one.endswith(".json")]
    assert len(shown) == (0 if isinstance(ended, ImageError) else 1)
    assert len(str(ended)) <= 600
    check_whole(store)

    bad_registry._faults.clear()
    healed = quick_pull(image, store)

    check_whole(store)
    for opened in images.open_layers(str(store), healed):
        opened.close()


@pytest.mark.parametrize("name", ["cut", "corrupt", "stalled"])
def test_a_node_s_store_has_whole_layers_or_none(
    bad_registry: BadRegistry, open_folder: Path, name: str
) -> None:
    image = spoiled(bad_registry, FAULTS[name], None)
    store = open_folder / "store"
    store.mkdir(mode=0o700)
    os.chown(store, SERVICE, SERVICE)

    said = pull_as(ALICE, SERVICE, image, store, 0.3)

    check_whole(store)
    assert said["error"] or len(os.listdir(store / "layers")) == 2
    bad_registry._faults.clear()
    said = pull_as(ALICE, SERVICE, image, store)
    assert said["error"] is None
    check_whole(store)


def test_a_registry_that_restarts_in_the_middle_is_waited_for(store: Path) -> None:
    ended: list[object] = []
    with BadRegistry(knows_ranges=True) as first:
        image = spoiled(first, Fault(trickle=400_000), None)
        port = int(first.address.rpartition(":")[2])

        def run() -> None:
            try:
                ended.append(pull_here(image, store))
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                ended.append(error)

        pulling = threading.Thread(target=run)
        pulling.start()
        deadline = time.monotonic() + 10
        while not first.sent.get(f"/v2/faulty/image/blobs/{digest(SECOND)}"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with BadRegistry(port=port, knows_ranges=True) as second:
        spoiled(second, Fault(), 0)
        pulling.join(30)

    assert not pulling.is_alive()
    assert [type(end) for end in ended] == [ImageRecord], ended
    check_whole(store)
    assert collect.collect(str(store), collect.nothing, dry_run=True).leftovers == {}


def test_a_store_on_which_no_large_file_may_be_written_is_told(
    bad_registry: BadRegistry, store: Path
) -> None:
    import resource  # noqa: PLC0415 - changed and restored here

    push_image(bad_registry, "limit/image:1", tar(file("big", os.urandom(300_000))), how="none")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(Exception, match="File too large"):
            quick_pull(f"{bad_registry.address}/limit/image:1", store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)

    assert visible(store) == set()
    check_whole(store)

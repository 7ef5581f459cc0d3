"""Removing images, leases that forbid it, and what killed pulls leave."""

import os
import subprocess
from pathlib import Path

import pytest

from hpcbox.errors import ImageNotFound, ImageRemoved, RequestError, StoreBusy, StoreError
from hpcbox.store import access, collect, images, locks, paths, records, scratch
from hpcbox.store.images import ImageRecord
from tests.services.registry import Registry
from tests.services.small_images import file, folder, push_image, tar
from tests.store.pulling import pull_here, visible

SHARED = tar(folder("closed", 0o500), file("closed/a"))
OWN = tar(file("b"))


@pytest.fixture
def pulled(registry: Registry, store: Path) -> tuple[ImageRecord, ImageRecord]:
    """Two images that share a layer."""
    push_image(registry, "collect/one:1", SHARED, OWN)
    push_image(registry, "collect/two:1", SHARED)
    one = pull_here(f"{registry.address}/collect/one:1", store)
    return one, pull_here(f"{registry.address}/collect/two:1", store)


def test_removing_an_image_removes_the_layers_that_it_alone_used(
    pulled: tuple[ImageRecord, ImageRecord], store: Path
) -> None:
    one, two = pulled

    removed = collect.remove(str(store), collect.one(one))

    assert len(removed.layers) == 1
    assert removed.freed_bytes > 0
    assert images.read_record(str(store), one.digest) is None
    assert os.listdir(store / "layers") == two.layers
    assert len(collect.remove(str(store), collect.one(two)).layers) == 1
    assert visible(store) == set()
    assert os.listdir(store / "tmp") == []


def test_an_image_in_use_stays(pulled: tuple[ImageRecord, ImageRecord], store: Path) -> None:
    one, _ = pulled
    images.take_lease(str(store), "17", "0", os.getpid(), one)

    with pytest.raises(StoreBusy, match=r"in use by job 17\.0"):
        collect.remove(str(store), collect.one(one))

    assert len(images.open_layers(str(store), one)) == 2


def test_layers_in_use_stay_when_another_image_goes(
    pulled: tuple[ImageRecord, ImageRecord], store: Path
) -> None:
    one, two = pulled
    images.take_lease(str(store), "17", "0", os.getpid(), one)
    collect.remove(str(store), collect.one(two))

    assert not collect.remove(str(store), collect.nothing).layers
    assert set(os.listdir(store / "layers")) == set(one.layers)


def test_a_lease_ends_with_its_owner(pulled: tuple[ImageRecord, ImageRecord], store: Path) -> None:
    one, _ = pulled
    owner = subprocess.Popen(["sleep", "60"])
    images.take_lease(str(store), "17", "0", owner.pid, one)
    owner.kill()
    owner.wait()

    assert len(collect.remove(str(store), collect.one(one)).layers) == 1
    assert os.listdir(store / "leases") == []


@pytest.mark.parametrize("text", ["", '{"cut short', "[]"])
def test_a_lease_whose_writer_was_killed_goes_with_the_next_one(
    pulled: tuple[ImageRecord, ImageRecord], store: Path, text: str
) -> None:
    one, _ = pulled
    (store / "leases/17.0.4711").write_text(text)

    with locks.wait(paths.store_lock(str(store)), shared=True):
        images.take_lease(str(store), "18", "0", os.getpid(), one)
        being_written = sorted(os.listdir(store / "leases"))
    images.take_lease(str(store), "19", "0", os.getpid(), one)

    pid = os.getpid()
    assert being_written == ["17.0.4711", f"18.0.{pid}"]
    assert sorted(os.listdir(store / "leases")) == [f"18.0.{pid}", f"19.0.{pid}"]


def test_a_lease_needs_a_living_owner(pulled: tuple[ImageRecord, ImageRecord], store: Path) -> None:
    owner = subprocess.Popen(["true"])
    owner.wait()

    with pytest.raises(StoreError, match="not there"):
        images.take_lease(str(store), "17", "0", owner.pid, pulled[0])


def test_an_image_that_was_removed_since_it_was_looked_up_is_not_held(
    pulled: tuple[ImageRecord, ImageRecord], store: Path
) -> None:
    one, _ = pulled
    collect.remove(str(store), collect.one(one))

    with pytest.raises(ImageRemoved, match="a moment ago"):
        images.take_lease(str(store), "17", "0", os.getpid(), one)

    assert os.listdir(store / "leases") == []


def test_images_are_found_by_reference_digest_and_its_beginning(
    pulled: tuple[ImageRecord, ImageRecord], store: Path
) -> None:
    one, _ = pulled
    hexdigits = one.digest.removeprefix("sha256:")

    for text in (one.references[0], one.digest, hexdigits, hexdigits[:12], one.digest[:20]):
        assert records.find(str(store), text, "docker.io").digest == one.digest


@pytest.mark.parametrize("text", ["nothing:1", "sha256:" + "0" * 64, "0123456"])
def test_an_image_that_is_not_there_is_told(
    pulled: tuple[ImageRecord, ImageRecord], store: Path, text: str
) -> None:
    assert pulled
    with pytest.raises((ImageNotFound, RequestError)):
        records.find(str(store), text, "docker.io")


def test_what_a_killed_pull_left_is_swept_and_what_lives_is_not(store: Path) -> None:
    paths.prepare(str(store))
    left = store / "tmp" / "0123"
    (left / "layer/closed").mkdir(parents=True)
    (left / "layer/closed/file").touch()
    (left / "layer/closed").chmod(0)

    with scratch.scratch(str(store)) as mine:
        assert scratch.sweep(str(store)) == 1

        assert os.listdir(store / "tmp") == [os.path.basename(mine)]
    assert os.listdir(store / "tmp") == []


def test_nothing_is_swept_while_somebody_adds(store: Path) -> None:
    paths.prepare(str(store))
    (store / "tmp/left").mkdir()

    with locks.wait(paths.store_lock(str(store)), shared=True):
        assert scratch.sweep(str(store)) == 0

    assert scratch.sweep(str(store)) == 1


def test_access_is_fresh_for_the_time_that_is_asked_for(store: Path) -> None:
    paths.prepare(str(store))
    name = "a" * 64
    access.grant(str(store), 1000, name)

    assert images.access_is_fresh(str(store), 1000, name, 60)
    assert not images.access_is_fresh(str(store), 1001, name, 60)

    os.utime(paths.access(str(store), 1000, name), (1000, 1000))
    assert not images.access_is_fresh(str(store), 1000, name, 60)
    os.utime(paths.access(str(store), 1000, name), (2**33, 2**33))
    assert not images.access_is_fresh(str(store), 1000, name, 60)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "sha256:x", "", "A" * 64])
def test_a_digest_that_is_none_never_becomes_a_path(store: Path, digest: str) -> None:
    paths.prepare(str(store))

    with pytest.raises(StoreError):
        images.read_record(str(store), digest)


def test_a_store_that_is_open_to_others_is_refused(store: Path) -> None:
    store.mkdir(mode=0o755)

    with pytest.raises(StoreError, match="belongs to uid"):
        paths.prepare(str(store))


def test_a_store_of_another_format_is_refused(store: Path) -> None:
    paths.prepare(str(store))
    (store / "format").write_text("3\n")

    with pytest.raises(StoreError, match="format '3'"):
        paths.prepare(str(store))


def test_a_damaged_record_is_told(pulled: tuple[ImageRecord, ImageRecord], store: Path) -> None:
    hexdigits = pulled[0].digest.removeprefix("sha256:")
    (store / "images" / f"{hexdigits}.json").write_text("{")

    with pytest.raises(StoreError, match="damaged"):
        images.read_record(str(store), hexdigits)

"""`hpcbox gc`, `images` and `rm` on a store with images of several ages, some in use."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcbox.store import collect, images, inventory, leases
from hpcbox.store.images import ImageRecord
from tests.services.registry import Registry
from tests.services.small_images import file, push_image, tar
from tests.store.pulling import finish, hpcbox, pull_here, scratch

DAY = 86400
SHARED = tar(file("shared", os.urandom(300_000)))
OWN = {name: tar(file(name, os.urandom(200_000))) for name in ("old", "older", "new")}


@pytest.fixture
def stored(registry: Registry, store: Path) -> dict[str, ImageRecord]:
    """Images that share a layer, last used now, 10 and 40 days ago."""
    records = {}
    for name, days in (("new", 0), ("old", 10), ("older", 40)):
        push_image(registry, f"gc/{name}:1", SHARED, OWN[name], how="none")
        records[name] = pull_here(f"{registry.address}/gc/{name}:1", store)
        moment = time.time() - days * DAY - 60
        os.utime(json_of(store, records[name]), (moment, moment))
    return records


@pytest.fixture
def sleeping() -> Iterator[int]:
    """The pid of a process that lives."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def json_of(store: Path, record: ImageRecord) -> Path:
    return store / "images" / f"{record.digest.removeprefix('sha256:')}.json"


def run(*words: str, store: Path) -> str:
    code, out, err = finish(hpcbox(*words, store=store))
    assert (code, err) == (0, "")
    return out


def names_of(store: Path) -> list[str]:
    listed = json.loads(run("images", "--json", store=store))
    return sorted(image["references"][0].rpartition("/")[2] for image in listed)


def tree(store: Path) -> list[str]:
    return sorted(str(path) for path in store.rglob("*"))


def test_images_tell_bytes_on_disk_last_use_and_who_uses_them(
    stored: dict[str, ImageRecord], store: Path, sleeping: int
) -> None:
    os.utime(json_of(store, stored["old"]), (1000, 1000))
    images.take_lease(str(store), "17", "0", sleeping, stored["new"])

    listed = {one["digest"]: one for one in json.loads(run("images", "--json", store=store))}
    text = run("images", store=store)

    new, old = listed[stored["new"].digest], listed[stored["old"].digest]
    assert 500_000 <= new["stored_bytes"] <= 600_000
    assert 200_000 <= old["unique_bytes"] <= 260_000
    assert new["unique_bytes"] == 0
    assert (old["last_used_at"], old["in_use"], new["in_use"]) == (1000, [], ["job 17.0"])
    assert abs(new["last_used_at"] - time.time()) < 60
    assert "job 17.0" in text
    assert " d ago" in text
    last = text.splitlines()[-1]
    assert last.startswith("3 images, 9")
    assert "KB on disk with shared layers counted once" in last


def test_gc_without_options_removes_leftovers_and_no_image(
    stored: dict[str, ImageRecord], store: Path
) -> None:
    assert stored
    (store / "tmp/0123/layer").mkdir(parents=True)
    (store / "tmp/0123/layer/file").write_bytes(bytes(50_000))
    (store / "layers" / ("9" * 64) / "fs").mkdir(parents=True)
    (store / "locks" / f"{'9' * 64}.2.lock").touch()
    (store / "images" / f"{'9' * 64}.manifest").write_text("of a pull that was killed")
    (store / "images" / f"{'8' * 64}.json.77.new").write_text("cut")
    (store / "leases/1.2.3").write_text('{"cut short')
    (store / "leases/4.5.6").write_text(
        '{"version":1,"owner_pid":1,"owner_start":1,"layers":[],"image":"sha256:0"}'
    )

    told = json.loads(run("gc", "--json", store=store))

    assert told["images"] == []
    assert [layer["name"] for layer in told["layers"]] == ["9" * 64]
    assert [left["path"] for left in told["leftovers"]] == [
        "tmp/0123", f"images/{'8' * 64}.json.77.new", f"images/{'9' * 64}.manifest",
    ]  # fmt: skip
    assert told["freed_bytes"] >= 50_000
    assert told["leases"] == ["1.2.3", "4.5.6"]
    assert f"{'9' * 64}.2.lock" in told["locks"]
    assert (scratch(store), os.listdir(store / "leases")) == ([], [])
    assert names_of(store) == ["new:1", "old:1", "older:1"]
    again = json.loads(run("gc", "--json", store=store))
    assert again == {
        "dry_run": False, "freed_bytes": 0, "images": [], "layers": [], "leftovers": [],
        "leases": [], "locks": [],
    }  # fmt: skip


def test_a_dry_run_tells_the_same_and_changes_nothing(
    stored: dict[str, ImageRecord], store: Path
) -> None:
    assert stored
    (store / "tmp/0123").mkdir()
    (store / "leases/1.2.3").write_text('{"cut short')
    before = tree(store)

    dry = json.loads(run("gc", "--dry-run", "--all-unused", "--json", store=store))
    text = run("gc", "--dry-run", "--all-unused", store=store)
    after = tree(store)
    real = json.loads(run("gc", "--all-unused", "--json", store=store))

    assert before == after
    assert dry["dry_run"] is True
    assert {**dry, "dry_run": False} == real
    assert text.count("would remove") == 5
    assert text.splitlines()[-1].endswith("would be freed")
    assert names_of(store) == []
    assert os.listdir(store / "layers") == []


@pytest.mark.parametrize(
    ("days", "left"),
    [
        ("100", ["new:1", "old:1", "older:1"]),
        ("30", ["new:1", "old:1"]),
        ("5", ["new:1"]),
        ("0", []),
    ],
)
def test_images_go_by_age(
    stored: dict[str, ImageRecord], store: Path, days: str, left: list[str]
) -> None:
    assert stored

    run("gc", "--older-than", days, store=store)

    assert names_of(store) == left
    assert len(os.listdir(store / "layers")) == (len(left) + 1 if left else 0)


def test_what_is_in_use_stays(stored: dict[str, ImageRecord], store: Path, sleeping: int) -> None:
    images.take_lease(str(store), "17", "0", sleeping, stored["older"])

    run("gc", "--all-unused", store=store)
    code, out, err = finish(hpcbox("rm", stored["older"].digest, store=store))
    kept = run("rm", "--all", store=store)

    assert names_of(store) == ["older:1"]
    assert sorted(os.listdir(store / "layers")) == sorted(stored["older"].layers)
    assert (code, out) == (75, "")
    assert "in use by job 17.0" in err
    assert kept == f"kept: image {stored['older'].digest} is in use by job 17.0\n"


def test_rm_tells_the_bytes_that_it_freed(stored: dict[str, ImageRecord], store: Path) -> None:
    out = run("rm", stored["old"].digest, store=store)

    assert "1 of its 2 layers, 2" in out
    assert out.endswith(" KB freed\n")


def test_an_image_that_was_pulled_with_its_digest_is_removed_by_its_name(
    stored: dict[str, ImageRecord], registry: Registry, store: Path
) -> None:
    image = f"{registry.address}/gc/new:1"
    run("rm", image, store=store)
    pull_here(f"{image}@{stored['new'].digest}", store)

    listed = run("images", store=store)
    out = run("rm", image, store=store)

    assert f"{image} " in listed
    assert out.startswith(f"removed {stored['new'].digest}, 1 of its 2 layers")


def test_room_is_made_of_what_was_used_longest_ago(
    stored: dict[str, ImageRecord], store: Path
) -> None:
    found = inventory.read(str(store))

    def digests(wanted: int) -> list[str]:
        return [image.record.digest for image in collect.to_free(wanted)(found)]

    older, old = stored["older"].digest, stored["old"].digest
    assert digests(0) == []
    assert digests(1) == [older]
    assert digests(300_000) == [older, old]
    # The layer that all share goes with the last of them.
    assert digests(10**9) == [older, old, stored["new"].digest]


def test_a_lease_of_before_a_reboot_has_ended(
    stored: dict[str, ImageRecord], registry: Registry, store: Path, sleeping: int
) -> None:
    lease = Path(images.take_lease(str(store), "17", "0", sleeping, stored["new"]))
    table = json.loads(lease.read_text())
    assert [one.name for one in leases.listed(str(store))[0]] == [lease.name]
    lease.write_text(json.dumps({**table, "boot": "another"}))
    lease.with_name("17.1.5").write_text("")

    pull_here(f"{registry.address}/gc/new:1", store)

    assert os.listdir(store / "leases") == []


def test_a_damaged_record_hinders_nobody_and_gc_removes_it(
    stored: dict[str, ImageRecord], registry: Registry, store: Path
) -> None:
    for name in ("old", "new"):
        json_of(store, stored[name]).write_text('{"cut')

    before = names_of(store)
    pull_here(f"{registry.address}/gc/new:1", store)
    healed = names_of(store)
    told = json.loads(run("gc", "--json", store=store))

    assert before == ["older:1"]
    assert healed == names_of(store) == ["new:1", "older:1"]
    stem = f"images/{stored['old'].digest.removeprefix('sha256:')}"
    assert [left["path"] for left in told["leftovers"]] == [
        f"{stem}.{suffix}" for suffix in ("json", "manifest", "config")
    ]
    assert len(told["layers"]) == 1


def test_gc_of_a_store_that_is_not_there_makes_an_empty_one(store: Path) -> None:
    assert run("gc", store=store) == "0 B freed\n"

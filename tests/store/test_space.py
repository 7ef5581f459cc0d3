"""Room for a pull: missing before the first blob, made by removing, or run out of."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpcbox.errors import StoreFull
from hpcbox.image.digest import Digest
from hpcbox.image.manifest import Descriptor
from hpcbox.image.media_types import OCI_LAYER, OCI_LAYER_GZIP
from hpcbox.image.progress import Progress  # noqa: TC001 - one style of imports
from hpcbox.store import images, space
from hpcbox.store.pull import Limits
from hpcbox.store.space import Level, Marks
from tests.services.registry import Registry
from tests.services.small_images import file, folder, hardlink, push_image, tar
from tests.store.pulling import LIMITS, pull_here, visible

SERVICE = 65533
MARKS = Marks(0, 90, 80)


def described(size_bytes: int, media_type: str = OCI_LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type, Digest.of(b""), size_bytes)


@pytest.mark.parametrize(
    ("used", "coming", "expected"),
    [(0, 0, 0), (800, 100, 0), (800, 101, 101), (890, 20, 110), (950, 0, 150), (0, 5000, 4200)],
)
def test_what_comes_above_the_high_mark_goes_down_to_the_low_one(
    used: int, coming: int, expected: int
) -> None:
    assert Level(used, 1000).excess(coming, MARKS) == expected


def test_a_low_mark_above_the_high_one_counts_as_the_high_one() -> None:
    assert Level(950, 1000).excess(0, Marks(0, 50, 99)) == 450


def test_what_layers_need_depends_on_how_they_are_packed() -> None:
    packed = space.needed([described(1000), described(1000)])
    plain = space.needed([described(1000, OCI_LAYER)])

    assert packed == (1500, 6000)
    assert plain == (200, 1200)
    assert space.needed([]) == (0, 0)


def test_an_image_that_cannot_fit_is_refused_before_the_first_blob(
    registry: Registry, store: Path
) -> None:
    push_image(registry, "space/large:1", tar(file("a", os.urandom(1_000_000))))
    limits = Limits(2**34, 10**6, 3, marks=Marks(maximum_bytes=500_000))

    with pytest.raises(StoreFull) as caught:
        pull_here(f"{registry.address}/space/large:1", store, limits=limits)

    text = str(caught.value)
    assert re.search(r"it takes 75\d KB at least, 3.0 MB likely, and 500 KB are left", text)
    assert "hpcbox gc" in text
    assert len(text) <= 600
    # The config is all that came.
    asked = [line for line in registry.requests() if "/v2/space/large/blobs/" in line]
    assert len([line for line in asked if line.startswith("GET")]) == 1
    assert visible(store) == set()
    assert os.listdir(store / "leases") == []


def test_unused_images_make_room_and_those_in_use_do_not(registry: Registry, store: Path) -> None:
    limits = Limits(2**34, 10**6, 3, marks=Marks(4_000_000, 90, 90))
    kept = []
    for number, name in enumerate(("first", "second", "third", "fourth")):
        push_image(registry, f"space/{name}:1", tar(file(name, os.urandom(1_000_000))), how="none")
        seen: list[Progress] = []
        record = pull_here(f"{registry.address}/space/{name}:1", store, limits=limits, seen=seen)
        kept.append(record)
        if name == "first":
            images.take_lease(str(store), "1", "0", os.getpid(), record)
        moment = time.time() - 1000 + number
        os.utime(store / "images" / f"{record.digest.removeprefix('sha256:')}.json", (moment,) * 2)

    assert [images.read_record(str(store), record.digest) is not None for record in kept] == [
        True, False, True, True,
    ]  # fmt: skip
    assert "clearing" in {one.phase for one in seen}
    assert len(os.listdir(store / "layers")) == 3


def test_the_layers_that_a_pull_needs_make_no_room_for_it(registry: Registry, store: Path) -> None:
    shared = tar(file("shared", os.urandom(1_000_000)))
    push_image(registry, "space/base:1", shared, how="none")
    push_image(registry, "space/top:1", shared, tar(file("b", os.urandom(1_000_000))), how="none")
    base = pull_here(f"{registry.address}/space/base:1", store)

    limits = Limits(2**34, 10**6, 3, marks=Marks(2_100_000, 90, 90))
    top = pull_here(f"{registry.address}/space/top:1", store, limits=limits)

    assert images.read_record(str(store), base.digest) is None
    assert set(os.listdir(store / "layers")) == set(top.layers)


def cramped(
    image: str, store: Path, form: str, service: int, options: list[str]
) -> list[dict[str, Any]]:
    store.mkdir(mode=0o700, exist_ok=True)
    command = ["unshare", "--mount", sys.executable, "-m", "tests.services.cramped_pulls"]
    result = subprocess.run(
        [*command, form, image, str(store), str(service), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    answers: list[dict[str, Any]] = json.loads(result.stdout)
    return answers


def check_all_or_nothing(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        assert answer["tmp"] == answer["leases"] == [], answer
        if answer["error"] is None:
            assert len(answer["layers"]) == 3, answer
        else:
            # A layer that was whole before another found no room is there, and may be.
            assert "space" in answer["error"], answer
            assert [name for name in answer["images"] if name.endswith(".json")] == [], answer
            assert answer.get("left", []) == [], answer
    ends = [answer["error"] is None for answer in answers]
    # Too small until it is large enough, and both were met.
    assert ends == sorted(ends)
    assert (ends[0], ends[-1]) == (False, True)


@pytest.mark.parametrize(
    ("service", "form"),
    [(0, "directory"), (0, "index"), (0, "erofs"), (0, "squashfs"), (SERVICE, "index")],
)
def test_a_store_that_runs_full_at_any_stage_has_each_layer_whole_or_not(
    registry: Registry, open_folder: Path, form: str, service: int
) -> None:
    layers = [
        tar(folder(name), *[file(f"{name}/{number}", os.urandom(9000)) for number in range(20)],
            hardlink(f"{name}/link", f"{name}/1"))
        for name in ("a", "b", "c")
    ]  # fmt: skip
    push_image(registry, "space/stages:1", *layers, how="none")
    image = f"{registry.address}/space/stages:1"
    store = open_folder / "store"
    sizes = [f"size={kilobytes}k" for kilobytes in (4, 150, 300, 500, 8000)]
    inodes = [f"nr_inodes={number}" for number in (9, 14, 18, 22, 500)]

    check_all_or_nothing(cramped(image, store, form, service, sizes))
    check_all_or_nothing(cramped(image, store, form, service, inodes))


def test_limits_by_default_remove_nothing_that_fits(registry: Registry, store: Path) -> None:
    push_image(registry, "space/default:1", tar(file("a")))
    push_image(registry, "space/other:1", tar(file("b")))

    first = pull_here(f"{registry.address}/space/default:1", store, limits=LIMITS)
    pull_here(f"{registry.address}/space/other:1", store, limits=LIMITS)

    assert images.read_record(str(store), first.digest) is not None

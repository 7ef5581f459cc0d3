"""Pulling from a real registry: what lands in the store, and how often the registry is asked."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from hpcbox.errors import DigestMismatch, ImageNotFound, ImageTooLarge, LayerRejected
from hpcbox.image.progress import Progress  # noqa: TC001 - one style of imports
from hpcbox.store import images, layers
from hpcbox.store.pull import Limits
from tests.rootfs.unpacking import listing
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.registry import Registry
from tests.services.small_images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    digest,
    file,
    folder,
    hardlink,
    push_image,
    push_index,
    symlink,
    tar,
    whiteout,
)
from tests.store.pulling import finish, hpcbox, pull_here, scratch, visible

BOTTOM = tar(folder("etc"), file("etc/a", b"1"), file("etc/b", b"2"))
TOP = tar(folder("etc"), whiteout("etc/a"), file("etc/c", b"3"))


def blobs(registry: Registry, repository: str) -> list[str]:
    return [
        line
        for line in registry.requests()
        if line.startswith("GET ") and f"/v2/{repository}/blobs/" in line
    ]


@pytest.mark.parametrize(
    ("how", "media_type"),
    [
        ("gzip", DOCKER_MANIFEST),
        ("gzip", OCI_MANIFEST),
        ("zstd", OCI_MANIFEST),
        ("none", OCI_MANIFEST),
    ],
)
def test_an_image_lands_in_the_store_as_folders_and_a_record(
    registry: Registry, store: Path, how: str, media_type: str
) -> None:
    name = f"kinds/{how}-{len(media_type)}:1"
    pushed = push_image(
        registry, name, BOTTOM, TOP, how=how, media_type=media_type, Env=["A=b"], WorkingDir="/w"
    )

    record = pull_here(f"{registry.address}/{name}", store)

    assert record.digest == pushed
    assert record.layers == [digest(layer).removeprefix("sha256:") for layer in (BOTTOM, TOP)]
    assert (record.env, record.workdir) == (["A=b"], "/w")
    assert record.size_bytes == len(BOTTOM) + len(TOP)
    assert listing(store / "layers" / record.layers[1] / "fs") == {
        "etc": "folder 755",
        "etc/a": "whiteout",
        "etc/c": "file 644 3",
    }
    read = images.read_record(str(store), pushed)
    assert read is not None
    assert read.layers == record.layers
    assert scratch(store) == []
    assert os.listdir(store / "leases") == []


def test_a_second_pull_fetches_no_blob(registry: Registry, store: Path) -> None:
    push_image(registry, "twice/image:1", BOTTOM, TOP)
    pull_here(f"{registry.address}/twice/image:1", store)
    fetched = blobs(registry, "twice/image")

    pull_here(f"{registry.address}/twice/image:1", store)

    assert len(fetched) == 3
    assert blobs(registry, "twice/image") == fetched


def test_an_image_that_shares_layers_fetches_only_the_others(
    registry: Registry, store: Path
) -> None:
    push_image(registry, "share/one:1", BOTTOM)
    push_image(registry, "share/two:1", BOTTOM, TOP, how="zstd")
    pull_here(f"{registry.address}/share/one:1", store)

    pull_here(f"{registry.address}/share/two:1", store)

    assert len(blobs(registry, "share/two")) == 2


def test_a_layer_that_stands_twice_is_fetched_and_stacked_once(
    registry: Registry, store: Path
) -> None:
    push_image(registry, "double/image:1", BOTTOM, TOP, BOTTOM)

    record = pull_here(f"{registry.address}/double/image:1", store)

    assert record.layers == [digest(layer).removeprefix("sha256:") for layer in (TOP, BOTTOM)]
    assert len(blobs(registry, "double/image")) == 3


def test_two_pulls_at_once_fetch_once(registry: Registry, store: Path) -> None:
    big = tar(*[file(f"f{number}", os.urandom(20_000)) for number in range(400)])
    push_image(registry, "race/image:1", big, BOTTOM)

    pulls = [hpcbox("pull", f"{registry.address}/race/image:1", store=store) for _ in range(3)]
    ends = [finish(process) for process in pulls]

    assert [code for code, _, _ in ends] == [0, 0, 0], ends
    assert len({out for _, out, _ in ends}) == 1
    fetched = Counter(blobs(registry, "race/image"))
    # Each process reads the config, which is small; each layer comes once.
    assert sorted(fetched.values())[:2] == [1, 1]
    assert len(fetched) == 3


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_the_manifest_of_this_platform_is_taken_from_an_index(
    registry: Registry, store: Path, media_type: str
) -> None:
    inner = DOCKER_MANIFEST if media_type == DOCKER_LIST else OCI_MANIFEST
    name = f"index/{len(media_type)}"
    ours = push_image(registry, f"{name}:ours", BOTTOM, media_type=inner)
    other = push_image(registry, f"{name}:other", TOP, media_type=inner)
    sizes = {}
    for pushed in (ours, other):
        sizes[pushed] = registry.blob_path(pushed).stat().st_size
    platforms = {"riscv64": (other, sizes[other]), "amd64": (ours, sizes[ours])}
    listed = push_index(registry, f"{name}:1", platforms, media_type)

    by_tag = pull_here(f"{registry.address}/{name}:1", store)
    by_digest = pull_here(f"{registry.address}/{name}@{listed}", store)

    assert by_tag.digest == by_digest.digest == ours


def test_a_reference_names_the_image_it_was_pulled_as_last(registry: Registry, store: Path) -> None:
    image = f"{registry.address}/moved/image:1"
    push_image(registry, "moved/image:1", BOTTOM)
    old = pull_here(image, store)
    push_image(registry, "moved/image:1", TOP)

    new = pull_here(image, store)

    read = images.read_record(str(store), old.digest)
    assert read is not None
    assert (read.references, new.references) == ([], [image])


def test_layers_that_lean_on_others_are_settled_for_their_stack(
    registry: Registry, store: Path
) -> None:
    merged = tar(folder("usr"), folder("usr/bin"), symlink("bin", "usr/bin"), file("usr/bin/a"))
    tool = tar(file("bin/tool"), hardlink("bin/same", "bin/a"))
    push_image(registry, "lean/merged:1", merged, tool)
    push_image(registry, "lean/plain:1", tar(folder("bin"), file("bin/a")), tool)

    on_symlink = pull_here(f"{registry.address}/lean/merged:1", store)
    on_folder = pull_here(f"{registry.address}/lean/plain:1", store)

    def top(layer: str) -> set[str]:
        return set(listing(store / "layers" / layer / "fs"))

    assert top(on_symlink.layers[1]) == {
        "usr", "usr/bin", "usr/bin/tool", "usr/bin/a", "usr/bin/same",
    }  # fmt: skip
    assert top(on_folder.layers[1]) == {"bin", "bin/tool", "bin/a", "bin/same"}
    again = pull_here(f"{registry.address}/lean/merged:1", store)
    assert again.layers == on_symlink.layers


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_pull_leaves_nothing_visible_and_the_next_one_succeeds(
    bad_registry: BadRegistry, store: Path, number: signal.Signals
) -> None:
    layer = tar(*[file(f"f{number}", os.urandom(20_000)) for number in range(200)])
    push_image(bad_registry, "slow/image:1", layer, how="none")
    stalled = Fault(stall_after=2_000_000, times=1)
    bad_registry.spoil(rf"/blobs/{digest(layer)}", stalled)
    image = f"{bad_registry.address}/slow/image:1"
    process = hpcbox("pull", image, store=store)
    _until(lambda: _files_in(store / "tmp") > 50, process)

    os.kill(process.pid, number)
    code, _, _ = finish(process)

    assert code in (-signal.SIGKILL, 128 + signal.SIGTERM)
    assert visible(store) == set()
    if number == signal.SIGTERM:
        assert scratch(store) == []
    record = pull_here(image, store)
    assert len(record.layers) == 1
    assert scratch(store) == []


def _files_in(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("f*")) if folder.is_dir() else 0


def _until(condition: object, process: subprocess.Popen[str]) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_blob_with_other_bytes_is_refused(registry: Registry, store: Path) -> None:
    layer = tar(file("a", b"spoiled"))
    push_image(registry, "wrong/blob:1", layer, how="none")
    registry.blob_path(digest(layer)).write_bytes(layer.replace(b"spoiled", b"SPOILED"))

    with pytest.raises(DigestMismatch, match="bytes have the digest"):
        pull_here(f"{registry.address}/wrong/blob:1", store)

    assert visible(store) == set()
    assert scratch(store) == []


def test_altered_bytes_are_told_from_a_bad_layer(bad_registry: BadRegistry, store: Path) -> None:
    push_image(bad_registry, "altered/image:1", BOTTOM, how="none")
    bad_registry.spoil(
        rf"/blobs/{digest(BOTTOM)}", Fault(alter=lambda body: bytes(len(body))[:-1] + b"x")
    )

    with pytest.raises(DigestMismatch):
        pull_here(f"{bad_registry.address}/altered/image:1", store)


def test_a_wrong_diff_id_is_refused(registry: Registry, store: Path) -> None:
    push_image(registry, "wrong/diff:1", BOTTOM, diff_ids=[digest(b"another layer")])

    with pytest.raises(DigestMismatch, match="layer sha256:"):
        pull_here(f"{registry.address}/wrong/diff:1", store)

    assert visible(store) == set()


def test_a_layer_that_leaves_the_root_is_refused(registry: Registry, store: Path) -> None:
    push_image(registry, "hostile/image:1", tar(file("../escaped")))

    with pytest.raises(LayerRejected, match="leads out of the image"):
        pull_here(f"{registry.address}/hostile/image:1", store)

    assert visible(store) == set()
    assert scratch(store) == []


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(10_000, 1000, 1), "larger than"), (Limits(2**30, 2, 1), "more than 2 files")],
)
def test_an_image_beyond_the_limits_is_refused(
    registry: Registry, store: Path, limits: Limits, reason: str
) -> None:
    push_image(registry, "large/image:1", BOTTOM, TOP)

    with pytest.raises(ImageTooLarge, match=reason):
        pull_here(f"{registry.address}/large/image:1", store, limits=limits)


def test_an_image_that_is_not_there_is_named(registry: Registry, store: Path) -> None:
    with pytest.raises(ImageNotFound, match="nothing/here:1"):
        pull_here(f"{registry.address}/nothing/here:1", store)


def test_progress_names_phases_bytes_and_layers(registry: Registry, store: Path) -> None:
    push_image(registry, "progress/image:1", BOTTOM, TOP, how="none")
    seen: list[Progress] = []

    pull_here(f"{registry.address}/progress/image:1", store, seen=seen)

    assert next(progress.phase for progress in seen) == "resolving"
    assert seen[-1].phase == "ready"
    assert seen[-1].bytes_done == seen[-1].bytes_total == len(BOTTOM) + len(TOP)
    assert (seen[-1].layers_done, seen[-1].layers) == (2, 2)


def test_the_record_of_a_layer_says_where_it_came_from(registry: Registry, store: Path) -> None:
    push_image(registry, "origin/image:1", BOTTOM, how="none")

    record = pull_here(f"{registry.address}/origin/image:1", store)

    layer = layers.read(str(store), record.layers[0])
    assert layer is not None
    assert [(origin.repository, str(origin.blob)) for origin in layer.origins] == [
        ("origin/image", digest(BOTTOM))
    ]
    table = json.loads((store / "layers" / record.layers[0] / "layer.json").read_text())
    assert (table["version"], table["form"]) == (2, "directory")
    assert table["stored_bytes"] > 0

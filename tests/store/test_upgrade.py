"""Stores of format 1, as hpcbox of that time left them, and stores of formats to come."""

import json
from pathlib import Path

import pytest

from hpcbox.errors import StoreError
from hpcbox.store import images, layers, upgrade
from tests.services.registry import Registry
from tests.services.small_images import file, push_image, tar
from tests.store.pulling import finish, hpcbox, pull_here

NAME, IMAGE = "1" * 64, "2" * 64
LAYER_JSON = {
    "version": 1,
    "diff_id": f"sha256:{NAME}",
    "size_bytes": 10240,
    "entries": 1,
    "origins": [{"registry": "r:5000", "repository": "a", "blob": "sha256:" + "3" * 64}],
    "samples": {"3" * 64: {"7": "00ff"}},
    "needs": {"folders": ["etc"], "linked_folders": [], "links": []},
}
IMAGE_JSON = {
    "version": 1,
    "digest": f"sha256:{IMAGE}",
    "layers": [NAME],
    "env": ["A=b"],
    "workdir": "",
    "entrypoint": [],
    "cmd": [],
    "user": "",
    "size_bytes": 10240,
    "pulled_at": 1700000000,
    "references": ["r:5000/a:1"],
    "origins": [{"registry": "r:5000", "repository": "a"}],
}


@pytest.fixture
def old_store(store: Path) -> Path:
    """A store of format 1 with an image of one layer."""
    store.mkdir(mode=0o700)
    (store / "format").write_text("1\n")
    for name in ("layers", "images", "access", "leases", "locks", "tmp"):
        (store / name).mkdir(mode=0o700)
    (store / "layers" / NAME / "fs/etc").mkdir(parents=True)
    (store / "layers" / NAME / "fs/etc/a").write_bytes(bytes(9000))
    (store / "layers" / NAME / "layer.json").write_text(json.dumps(LAYER_JSON))
    (store / "images" / f"{IMAGE}.json").write_text(json.dumps(IMAGE_JSON))
    for suffix in ("manifest", "config"):
        (store / "images" / f"{IMAGE}.{suffix}").write_text("{}")
    return store


def test_a_store_of_format_1_is_read_as_it_is(old_store: Path) -> None:
    code, out, _ = finish(hpcbox("images", "--json", store=old_store))
    record = images.read_record(str(old_store), IMAGE)

    assert (code, json.loads(out)[0]["env"]) == (0, ["A=b"])
    assert record is not None
    assert len(images.open_layers(str(old_store), record)) == 1
    assert (old_store / "format").read_text() == "1\n"


def test_the_first_write_upgrades_a_store_of_format_1(registry: Registry, old_store: Path) -> None:
    push_image(registry, "upgrade/image:1", tar(file("b")))

    pull_here(f"{registry.address}/upgrade/image:1", old_store)

    table = json.loads((old_store / "layers" / NAME / "layer.json").read_text())
    assert (old_store / "format").read_text() == "2\n"
    assert (table["version"], table["form"]) == (2, "directory")
    # Two blocks for the folders, three for the content, more or less as the file system does it.
    assert 9000 <= table["stored_bytes"] <= 40000
    assert {name: table[name] for name in LAYER_JSON if name != "version"} == {
        name: value for name, value in LAYER_JSON.items() if name != "version"
    }
    assert images.read_record(str(old_store), IMAGE) is not None


def test_an_upgrade_that_died_half_way_goes_on(old_store: Path) -> None:
    other = old_store / "layers" / ("4" * 64)
    (other / "fs").mkdir(parents=True)
    done = {**LAYER_JSON, "version": 2, "form": "directory", "stored_bytes": 5}
    (other / "layer.json").write_text(json.dumps(done))

    upgrade.upgrade(str(old_store))

    record = layers.read(str(old_store), NAME)
    assert (old_store / "format").read_text() == "2\n"
    assert record is not None
    assert record.stored_bytes > 5


def test_a_damaged_layer_is_no_hindrance(old_store: Path) -> None:
    (old_store / "layers" / NAME / "layer.json").write_text("{")

    upgrade.upgrade(str(old_store))

    assert (old_store / "format").read_text() == "2\n"


@pytest.mark.parametrize("verb", [["pull", "127.0.0.1:1/a:1"], ["images"], ["rm", "--all"]])
def test_a_store_of_a_newer_format_is_refused_in_one_line(old_store: Path, verb: list[str]) -> None:
    (old_store / "format").write_text("3\n")

    code, out, err = finish(hpcbox(*verb, store=old_store))

    assert (code, out) == (74, "")
    assert "has format '3', this hpcbox reads 1 and 2" in err
    assert err.count("\n") == 1


def test_a_form_that_is_unknown_is_a_damaged_record(old_store: Path) -> None:
    table = {**LAYER_JSON, "version": 2, "form": "../x", "stored_bytes": 5}
    (old_store / "layers" / NAME / "layer.json").write_text(json.dumps(table))

    with pytest.raises(StoreError, match="damaged"):
        layers.read(str(old_store), NAME)

"""Which form layers get: the table by values, and this machine's own row."""

from pathlib import Path

import pytest

from hpcbox import kernel
from hpcbox.errors import SettingsError
from hpcbox.rootfs import sinks
from hpcbox.rootfs.layer_image import IndexSink
from hpcbox.rootfs.sinks import Features
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.settings import AUTO, Settings
from hpcbox.store.forms import DIRECTORY, EROFS, INDEX, SQUASHFS

EXT4, TMPFS, OVERLAYFS, NFS = 0xEF53, 0x01021994, 0x794C7630, 0x6969


def features(
    *release: int,
    has_erofs: bool = True,
    has_squashfs: bool = True,
    has_loop: bool = True,
    store_type: int = EXT4,
) -> Features:
    return Features((release[0], release[1]), has_erofs, has_squashfs, has_loop, store_type)


@pytest.mark.parametrize(
    ("found", "form"),
    [
        (features(6, 18), INDEX),
        (features(6, 12, has_loop=False), INDEX),
        (features(6, 12, has_loop=False, store_type=NFS), INDEX),
        (features(6, 12, has_loop=False, store_type=TMPFS), DIRECTORY),
        (features(6, 12, has_loop=False, store_type=OVERLAYFS), DIRECTORY),
        (features(6, 12, store_type=TMPFS), INDEX),
        (features(6, 11), INDEX),
        (features(6, 11, has_loop=False), DIRECTORY),
        (features(6, 4), INDEX),
        (features(6, 3), EROFS),
        (features(6, 1), EROFS),
        (features(5, 19), EROFS),
        (features(6, 1, has_loop=False), DIRECTORY),
        (features(5, 18), DIRECTORY),
        (features(5, 10), DIRECTORY),
        (features(6, 18, has_erofs=False), DIRECTORY),
    ],
)
def test_the_table_gives_each_node_the_best_form_that_it_can_mount(
    found: Features, form: str
) -> None:
    assert sinks.choose(found) == form


@pytest.mark.parametrize("form", [INDEX, EROFS, SQUASHFS, DIRECTORY])
def test_a_form_that_is_demanded_is_taken_where_it_can_be_mounted(form: str) -> None:
    assert sinks.choose(features(6, 12), form) == form


@pytest.mark.parametrize(
    ("found", "form"),
    [
        (features(6, 1), INDEX),
        (features(5, 15), EROFS),
        (features(6, 12, has_erofs=False), INDEX),
        (features(6, 12, has_loop=False, store_type=TMPFS), INDEX),
        (features(6, 1), SQUASHFS),
        (features(6, 12, has_loop=False), SQUASHFS),
        (features(6, 12, has_squashfs=False), SQUASHFS),
        (features(6, 12), "tape"),
    ],
)
def test_a_form_that_is_demanded_and_cannot_be_mounted_is_an_error(
    found: Features, form: str
) -> None:
    with pytest.raises(SettingsError, match=f"'{form}', which the setting sink demands") as error:
        sinks.choose(found, form)

    assert len(str(error.value)) <= 600


def test_this_machine_is_probed_also_when_the_store_does_not_exist_yet(tmp_path: Path) -> None:
    found = sinks.probe(str(tmp_path / "not" / "yet"))

    assert found.release == kernel.release()
    assert found.has_erofs
    assert found.has_squashfs
    assert found.store_type == kernel.file_system_type(str(tmp_path))
    assert sinks.probe("/dev/shm/store").store_type == TMPFS


def test_the_sites_store_gets_what_is_chosen_and_a_users_own_gets_folders(tmp_path: Path) -> None:
    site = Settings(store=str(tmp_path), service_user="hpcbox", sink=INDEX)

    assert isinstance(sinks.own_sink(site), IndexSink)
    assert isinstance(sinks.own_sink(Settings(store=str(tmp_path), sink=AUTO)), DirectorySink)

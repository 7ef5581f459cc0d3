"""A step's folder: one a run, the user's own, found again by everybody who looks for it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from hpcbox.errors import RankError
from hpcbox.ranks import folder, layout

if TYPE_CHECKING:
    from pathlib import Path


def test_all_nodes_of_a_run_get_the_same_folder(tmp_path: Path) -> None:
    paths = {folder.open_folder(str(tmp_path), "12", "0", "run-a") for _ in range(3)}

    assert paths == {f"{tmp_path}/hpcbox-12.0"}


def test_a_requeued_job_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    runs = ["first", "second", "first", "second", "third"]

    names = [os.path.basename(folder.open_folder(str(tmp_path), "12", "0", run)) for run in runs]

    assert names == ["hpcbox-12.0", "hpcbox-12.0-2"] * 2 + ["hpcbox-12.0-3"]
    assert [layout.parse_folder_name(name) for name in names[3:]] == [
        ("12", "0", 2),
        ("12", "0", 3),
    ]


@pytest.mark.parametrize("name", ["hpcbox", "hpcbox-12", "hpcbox-12.", "hpcbox-1.0-", "x-1.0"])
def test_other_names_are_no_folders_of_steps(name: str) -> None:
    assert layout.parse_folder_name(name) is None


def test_a_symlink_in_the_folders_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "hpcbox-12.0")

    path = folder.open_folder(str(tmp_path), "12", "0", "run")

    assert path == f"{tmp_path}/hpcbox-12.0-2"


def test_a_folder_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "hpcbox-12.0").mkdir()
    os.chown(tmp_path / "hpcbox-12.0", 12345, 12345)

    assert folder.open_folder(str(tmp_path), "12", "0", "run").endswith("-2")


def test_the_node_local_folder_serves_where_the_working_directory_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "fallback_folder", lambda uid: f"{tmp_path}/hpcbox-{uid}/output")

    path = folder.open_folder("/proc", "12", "0", "run")

    assert path == f"{tmp_path}/hpcbox-{os.geteuid()}/output/hpcbox-12.0"
    assert os.stat(f"{tmp_path}/hpcbox-{os.geteuid()}").st_mode & 0o777 == 0o700


def test_a_node_local_folder_that_others_may_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "fallback_folder", lambda uid: f"{tmp_path}/hpcbox-{uid}/output")
    os.makedirs(layout.fallback_folder(os.geteuid()), 0o755)

    with pytest.raises(RankError, match="not the user's alone"):
        folder.open_folder("/proc", "12", "0", "run")


def test_step_json_is_read_back_by_any_json_reader(tmp_path: Path) -> None:
    fields: dict[str, str | int | float | list[str]] = {
        "job": "12",
        "command": ["./a b", 'quote"', "\udcff\n"],
        "tasks": 4,
        "started": 1.5,
    }

    folder.write_step(str(tmp_path), fields)

    with open(tmp_path / layout.STEP_FILE, encoding="ascii") as file:
        assert json.load(file) == {"version": 1, **fields}
    assert os.listdir(tmp_path) == [layout.STEP_FILE]


def test_the_registry_keeps_the_newest_steps(tmp_path: Path) -> None:
    home = str(tmp_path)
    for job in range(1, 1300):
        folder.register(home, "lab", str(job), "0", f"/scratch/hpcbox-{job}.0")

    names = os.listdir(f"{layout.registry_folder(home)}/lab")
    assert 1000 <= len(names) <= 1126
    assert "1299.0" in names
    assert "100.0" not in names
    assert os.readlink(layout.registry_link(home, "lab", "1299", "0")) == "/scratch/hpcbox-1299.0"

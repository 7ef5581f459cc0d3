"""What the node program loads: its start-up is a budget of each step on each node."""

import subprocess
import sys

import pytest

ALLOWED = {
    *("_collections_abc", "errno", "genericpath", "os", "os.path", "posixpath", "stat", "_stat"),
    *("_ctypes", "ctypes", "ctypes._endian", "_struct", "struct"),
    *("_json", "_socket", "pwd", "types", "hpcbox"),
}


def loaded_by(statement: str) -> set[str]:
    script = f"import sys; sys.path.insert(0, '.'); {statement}; print(*sys.modules)"
    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split()) - set(bare.stdout.split())


def test_the_node_program_loads_nothing_beyond_the_list() -> None:
    modules = loaded_by("import hpcbox.node")

    assert {name for name in modules if not name.startswith("hpcbox.")} <= ALLOWED
    assert {name for name in modules if name.startswith("hpcbox.")} == {
        "hpcbox.container",
        "hpcbox.container.root",
        "hpcbox.errors",
        "hpcbox.json_scan",
        "hpcbox.kernel",
        "hpcbox.node",
        "hpcbox.packets",
        "hpcbox.principals",
        "hpcbox.rootfs",
        "hpcbox.rootfs.mounting",
        "hpcbox.rootfs.overlay",
        "hpcbox.store",
        "hpcbox.store.opened_layer",
        "hpcbox.store.paths",
    }


@pytest.mark.parametrize(
    "child", ["hpcbox.container.opener", "hpcbox.store.librarian", "hpcbox.container.user_mode"]
)
def test_the_children_load_no_heavy_module(child: str) -> None:
    heavy = {"json", "re", "enum", "typing", "dataclasses", "pathlib", "logging", "tomllib"}

    assert not loaded_by(f"import hpcbox.node, {child}") & (heavy | {"asyncio", "collections"})

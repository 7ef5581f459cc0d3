"""What `pip install .` installs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_has_both_packages_and_neither_plugin_nor_tests(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), "."],
        cwd=REPOSITORY, check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("hpcbox-*-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert "hpcbox/py.typed" in names
    assert "hpcbox/node.py" in names
    assert {"hpcbox_tui/app.py", "hpcbox_tui/app.tcss", "hpcbox_tui/demo/cluster.json"} <= set(
        names
    )
    assert not [name for name in names if name.endswith(".so") or name.startswith("tests/")]

"""JSON where the json package isn't loaded: what is wrong is a ValueError there, too."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "text", ["", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', "[1", '"a', "nul", "{}x", "[" * 9999]
)
def test_a_text_that_is_no_json_is_a_value_error(text: str) -> None:
    script = f"""
import sys
sys.path.insert(0, ".")
from hpcbox.json_scan import loads
assert "json" not in sys.modules
try:
    loads({text!r})
except ValueError:
    print("refused")
"""

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("refused\n", "")

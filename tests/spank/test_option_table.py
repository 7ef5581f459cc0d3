"""The plugin's option table and the Python one say the same."""

import re
from pathlib import Path

from hpcbox.request.flags import FLAGS

SOURCE = Path(__file__).parents[2] / "spank" / "options.c"
ROW = re.compile(
    r'\[OPTION_\w+\] = \{ "([\w-]+)", (NULL|"[^"]*"), "[^"]*",\s+(NULL|"[^"]*"), "\w+", (\w+) \}'
)


def test_both_tables_have_the_same_names() -> None:
    rows = ROW.findall(SOURCE.read_text())
    names = {name for name, _, negative, _ in rows}
    names |= {negative.strip('"') for _, _, negative, _ in rows if negative != "NULL"}

    assert len(rows) == 13
    assert names == {flag.name for flag in FLAGS}


def test_both_tables_refuse_the_same_options() -> None:
    effects = {name: effect for name, _, _, effect in ROW.findall(SOURCE.read_text())}
    refused = {flag.name for flag in FLAGS if not flag.built} - {"container-readonly"}

    assert {
        name for name, effect in effects.items() if effect in ("REFUSED", "OFF_ONLY")
    } == refused

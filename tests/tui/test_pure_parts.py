"""The pure parts below the screens: texts, filters, rows, columns, commands."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from hpcbox.views import Job
from hpcbox_tui import commands
from hpcbox_tui.columns import columns_for, draw_cells
from hpcbox_tui.feed.queue import next_seconds
from hpcbox_tui.filters import keep
from hpcbox_tui.queue_rows import ORDERS, ArrayRow, arrange, count_states, row_id
from hpcbox_tui.screens.confirm import job_count
from hpcbox_tui.text import age, amount, bar, duration, fit, numbers, output_text
from hpcbox_tui.widgets.lines import difference
from hpcbox_tui.widgets.rank_grid import lay_out


def job(key: str, **fields: object) -> Job:
    """Return a job with usual fields but for some."""
    values = {
        "name": "work",
        "user": "alice",
        "account": "physics",
        "partition": "cpu",
        "qos": "normal",
        "state": "RUNNING",
        "reason": "",
        "elapsed_seconds": 60,
        "limit_seconds": 3600,
        "nodes": 1,
        "cpus": 4,
        "tasks": 1,
        "node_list": "n1",
        "submitted": 1,
        "started": 2,
        "container": "registry/mpich:1",
        **fields,
    }
    return Job(key=key, job_id=int(key.partition("_")[0]), **values)  # type: ignore[arg-type]


@given(st.binary(max_size=400))
def test_no_output_puts_a_control_character_on_the_screen(raw: bytes) -> None:
    assert output_text(raw).isprintable()


@given(st.text(max_size=100), st.integers(min_value=0, max_value=60))
def test_a_text_is_fit_into_exactly_its_cells(text: str, width: int) -> None:
    fitted = fit(text, width)

    assert fitted.isprintable()
    assert cell_len(fitted) == width


def test_times_ages_and_amounts_are_short() -> None:
    assert [duration(seconds) for seconds in (0, 61, 3600, 90061)] == [
        *("0:00", "1:01", "1:00:00", "1-01:01:01"),
    ]
    assert [age(seconds) for seconds in (-1, 0.44, 12, 120, 7200, 200_000)] == [
        *("0 s", "0.4 s", "12 s", "2 min", "2 h", "2 d"),
    ]
    assert [amount(size) for size in (0, 999, 1500, 2.8e9)] == ["0 B", "999 B", "1.5 kB", "2.8 GB"]
    assert numbers([0, 1, 2, 4, 6, 7]) == "0-2,4,6-7"
    assert bar(0.5, 4) == "██░░"


JOBS = (
    job("1", name="Train"),
    job("2", user="bob", state="PENDING", reason="Resources", node_list=""),
    job("3", state="COMPLETING", partition="gpu"),
    job("4_1"),
    job("4_[2-9]", state="PENDING", tasks=8),
)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", "1 2 3 4_1 4_[2-9]"),
        ("train", "1"),
        ("Train", "1"),
        ("TRAIN", ""),
        ("!train", "2 3 4_1 4_[2-9]"),
        ("user=bob", "2"),
        ("user!=bob gpu", "3"),
        ("state=PD", "2 4_[2-9]"),
        ("state=r", "1 4_1"),
        ("state=comp", "3"),
        ("id=4", "4_1 4_[2-9]"),
        ("image=mpich reason=res", "2"),
        ("nofield=1", ""),
        ("!", "1 2 3 4_1 4_[2-9]"),
    ],
)
def test_a_filter_keeps(text: str, keys: str) -> None:
    assert " ".join(found.key for found in keep(JOBS, text)) == keys


def test_an_array_is_folded_where_its_first_line_stands() -> None:
    rows = arrange(JOBS)

    assert len(rows) == 4
    assert isinstance(rows[3], ArrayRow)
    assert rows[3].counts() == "PD8 R1"
    assert len(arrange(JOBS, unfolded={4})) == 6
    assert len(arrange(JOBS, text="state=PD")) == 2
    assert count_states(()) == ""


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_sorts_and_turns_round(order: str) -> None:
    for descending in (False, True):
        rows = arrange(JOBS, order=order, descending=descending)
        assert sorted(map(row_id, rows)) == ["1", "2", "3", "4_*"]


@pytest.mark.parametrize("width", [1, 10, 18, 40, 78, 118, 198])
def test_the_columns_of_the_queue_fill_every_width(width: int) -> None:
    columns = columns_for(width)
    parts = draw_cells(JOBS[0], columns, 0.0)

    if width >= 18:
        assert sum(cell_len(text) for text, _ in parts) == width


def test_queries_cost_at_most_a_twentieth_of_a_core_and_a_quarter_of_the_time() -> None:
    assert next_seconds(0.0, 0.0) == 2.0
    assert next_seconds(0.5, 0.1) == pytest.approx(10.0)
    assert next_seconds(0.01, 2.0) == pytest.approx(8.0)
    assert next_seconds(0.0, 0.0, is_idle=True) == 10.0
    assert next_seconds(100.0, 0.0) == 60.0


def test_only_cells_that_differ_are_painted() -> None:
    plain, bold = Style(), Style(bold=True)

    def strip(text: str, style: Style = plain) -> Strip:
        return Strip([Segment("job ", bold), Segment(text, style)])

    assert difference(strip("1:23"), strip("1:23")) is None
    assert difference(strip("1:23"), strip("1:24")) == (7, 8)
    assert difference(strip("1:23"), strip("1:23", bold)) == (0, 8)
    assert difference(strip("1:23"), strip("1:2…")) == (0, 8)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 24, 64, 512])
@pytest.mark.parametrize("size", [(0, 0), (1, 1), (20, 2), (80, 20), (200, 57)])
def test_every_number_of_panes_is_laid_out_on_every_screen(
    count: int, size: tuple[int, int]
) -> None:
    layout = lay_out(count, *size)

    assert layout.columns >= 1
    assert layout.height >= 2
    assert layout.columns * layout.rows >= count
    assert layout.columns * layout.width + layout.columns - 1 <= max(size[0], layout.columns)


def test_commands_are_found_by_their_beginning() -> None:
    assert commands.parse("ref") == commands.Command("refresh", "")
    assert commands.parse("quit") == commands.Command("q", "")
    assert commands.parse("job  12") == commands.Command("job", "12")
    assert "no command" in str(commands.parse("jo"))
    assert commands.complete("ran", {}) == ["rank", "ranks"]
    assert commands.complete("job 1", {"job": ["12", "13", "2"]}) == ["job 12", "job 13"]


def test_the_first_paint_loads_no_screen_but_the_queue() -> None:
    script = "import sys, hpcbox_tui.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    modules = set(done.stdout.decode().split())

    assert not modules & {"asyncssh", "docker", "urllib3", "hpcbox_tui.feed.log"}
    screens = {name for name in modules if name.startswith("hpcbox_tui.screens.")}
    assert screens == {"hpcbox_tui.screens.frame", "hpcbox_tui.screens.queue"}


def test_the_question_before_a_cancel_counts_an_arrays_jobs() -> None:
    assert job_count(["12", "4_[1-3,7]", "5+1", "x["]) == 7

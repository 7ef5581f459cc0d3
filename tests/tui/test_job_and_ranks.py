"""A job and its ranks on the screen, by keys."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from hpcbox.errors import SlurmUnavailable
from hpcbox.ranks import layout
from hpcbox.views import StepFolder
from hpcbox_tui.screens.job import JobScreen
from hpcbox_tui.screens.log import LogScreen
from hpcbox_tui.screens.queue import QueueScreen
from hpcbox_tui.screens.ranks import RanksScreen
from tests.tui.playing import Stage, playing

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_job_shows_its_nodes_with_the_pull_that_is_under_way(tmp_path: Path) -> None:
    async with playing(tmp_path, at=3) as stage:
        await stage.press("enter")
        await stage.shows("pulling")

        line = stage.lines()[stage.row_of("n004")]
        assert "87% 2.5 GB of 2.8 GB" in line
        assert "█" in line
        assert "6 ranks" in stage.lines()[stage.row_of("n002")]

        stage.go_on(10)
        await stage.shows_not("pulling")
        assert "ready" in stage.lines()[stage.row_of("n004")]


async def test_a_job_shows_image_digest_asked_and_used_and_steps(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("enter")
        await stage.shows("STEPS")

        text = stage.text()
        assert "registry.example.org/physics/pytorch:25.01" in text
        assert "sha256:5f1c0a47" in text
        assert "mem 512G (used 388G)" in text
        assert "4711.batch" in text
        assert "RUNNING · 2:35 of 4:00:00" in stage.lines()[0]


async def test_a_job_that_slurm_forgets_stays_as_it_was_seen_last(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("enter")
        await stage.shows("STEPS")
        del stage.cluster.client.lines["4711"]
        await stage.press("ctrl+r")

        await stage.shows("there is no job 4711")
        assert "4711.batch" in stage.text()


async def test_a_job_that_never_was_is_a_line_and_no_crash(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        for wrong in ("99", "nonsense"):
            await stage.command(f"job {wrong}")
            await stage.shows(wrong)
            await stage.until(lambda: "no job" in stage.lines()[1], "the problem is shown")
            await stage.press("x", "escape")
            if not isinstance(stage.app.screen, JobScreen):
                continue
            await stage.press("escape")


async def to_ranks(stage: Stage) -> None:
    """Go to the ranks of the job under the cursor."""
    await stage.press("r")
    await stage.until(lambda: isinstance(stage.app.screen, RanksScreen), "ranks are shown")
    await stage.until(lambda: "24" in stage.lines()[0], "24 ranks are there")


async def test_the_grid_shows_the_last_lines_of_all_24_ranks(tmp_path: Path) -> None:
    async with playing(tmp_path, size=(120, 40)) as stage:
        await to_ranks(stage)
        await stage.shows("step 124 loss")

        text = stage.text()
        assert all(f"{rank} n00{1 + rank // 6}" in text for rank in range(24))
        assert "loss nan" in text
        assert stage.lines()[1].strip() == "●" * 24


async def test_new_lines_come_to_the_screen(tmp_path: Path) -> None:
    async with playing(tmp_path, size=(120, 40)) as stage:
        await to_ranks(stage)
        await stage.shows("step 124 loss")
        assert "step 130 loss" not in stage.text()

        stage.go_on(8)
        await stage.shows("step 134 loss")


async def test_d_names_the_odd_one_of_24_and_what_the_others_print(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await to_ranks(stage)
        await stage.press("d")
        await stage.shows("DIFFERS")

        odd = stage.row_of("rank 17 n003")
        assert odd < stage.row_of("SAME (23 ranks")
        assert "line 41  WARNING gradient overflow" in stage.lines()[odd]
        assert "others: step" in stage.lines()[odd + 1]
        assert "ranks 0-16,18-23" in stage.text()
        assert stage.lines()[1].strip() == "●" * 17 + "!" + "●" * 6

        await stage.press("enter")
        await stage.until(lambda: isinstance(stage.app.screen, LogScreen), "its log is shown")
        assert "rank 17" in stage.lines()[0]
        await stage.shows("loss nan")


async def test_m_merges_by_time_with_the_rank_in_the_gutter(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await to_ranks(stage)
        await stage.press("m")
        await stage.shows("[17] step 129 loss nan")

        await stage.press("k", "k")
        assert "stopped, F follows" in stage.lines()[0]
        shown = stage.lines()[2:]
        stage.go_on(5)
        await stage.until(lambda: "[23]" in stage.text(), "more lines are there")
        assert stage.lines()[2:-1] == shown[:-1]

        await stage.press("F")
        await stage.shows("step 135")


async def test_merged_lines_can_be_filtered(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await to_ranks(stage)
        await stage.press("m")
        await stage.shows("[17] step 129 loss nan")
        await stage.type("/nan")
        await stage.press("enter")

        body = [line for line in stage.lines()[2:-1] if line]
        assert body
        assert [line for line in body if "nan" not in line] == []


async def test_a_rank_that_failed_stands_first_in_the_comparison(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        folder = stage.cluster._folder.folder
        line = layout.event_line(stage.clock(), "rank", {"rank": 5, "state": "exited", "signal": 9})
        descriptor = os.open(layout.events_file(folder, "n001"), os.O_WRONLY | os.O_APPEND)
        layout.append_event(descriptor, line)
        os.close(descriptor)
        await to_ranks(stage)
        await stage.press("d")
        await stage.shows("FAILED")

        assert "signal 9" in stage.lines()[stage.row_of("rank 5 n001")]
        assert stage.lines()[1].strip()[5] == "✗"


async def test_a_rank_that_has_gone_quiet_is_named(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        folder = stage.cluster._folder.folder
        stage.go_on(60)
        moment = stage.clock() - 50
        os.utime(layout.rank_file(folder, 8, layout.OUT), (moment, moment))
        await to_ranks(stage)
        await stage.press("d")
        await stage.shows("SILENT")

        assert "nothing for 50 s" in stage.lines()[stage.row_of("rank 8 n002")]


async def test_colon_rank_goes_to_a_rank_and_says_when_there_is_none(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await to_ranks(stage)
        await stage.command("rank 17")
        assert stage.app.screen.rank == 17  # type: ignore[attr-defined]

        await stage.command("rank 24")
        assert "there is no rank 24" in stage.text()


async def test_a_folder_that_vanishes_under_the_ranks_is_no_crash(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await to_ranks(stage)
        for name in os.listdir(stage.cluster._folder.folder):
            os.unlink(os.path.join(stage.cluster._folder.folder, name))
        await stage.press("m", "d", "tab")
        await stage.pilot.pause(0.2)

        assert isinstance(stage.app.screen, RanksScreen)


async def test_x_on_ranks_cancels_their_job(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await to_ranks(stage)
        await stage.press("x")
        assert "$ scancel 4711" in stage.text()
        await stage.press("y")
        await stage.shows("cancelled 4711")


async def test_a_cancel_that_slurm_refuses_says_so(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("x")
        stage.cluster.client.failure = SlurmUnavailable("scancel: access denied")
        await stage.press("y")

        await stage.shows("not cancelled: scancel: access denied")


async def test_a_job_without_output_says_so(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("j", "r")

        await stage.shows("its ranks have left no output")
        await stage.press("l")
        assert "Slurm knows of no stdout file" in stage.text()


async def test_the_terminal_may_shrink_to_20_by_5_on_every_screen(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        for keys in ((), ("enter",), ("r",), ("m",), ("d",), ("enter",), ("question_mark",)):
            await stage.press(*keys)
            for size in ((20, 5), (80, 24)):
                await stage.pilot.resize_terminal(*size)
                await stage.pilot.pause()
        await stage.pilot.resize_terminal(1, 1)
        await stage.pilot.resize_terminal(20, 5)
        await stage.press("escape", "x", "colon", "escape", "ctrl+p")
        assert stage.app.is_running


async def test_the_help_lists_the_keys_of_the_screen_it_was_called_on(tmp_path: Path) -> None:
    async with playing(tmp_path, size=(80, 60)) as stage:
        await to_ranks(stage)
        await stage.press("question_mark")
        await stage.shows("KEYS")

        assert "differences" in stage.text()
        assert ":job" in stage.text()
        await stage.press("escape")
        assert isinstance(stage.app.screen, RanksScreen)


async def test_the_palette_opens_a_job_by_its_number_and_does_what_keys_do(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("ctrl+p")
        await stage.type("4711")
        await stage.press("enter")
        assert isinstance(stage.app.screen, JobScreen)

        await stage.press("escape", "ctrl+p")
        await stage.type("sort")
        await stage.press("enter")
        assert isinstance(stage.app.screen, QueueScreen)
        assert "JOB▴" in stage.text()


async def test_tab_completes_commands_and_jobs(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.type(":jo")
        await stage.press("tab")
        assert stage.lines()[-1].startswith(":job")
        await stage.type(" 4709")
        await stage.press("enter")
        await stage.shows("lammps-melt")
        assert isinstance(stage.app.screen, JobScreen)


async def test_a_wrong_command_says_what_is_wrong(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        for line, answer in (
            ("nothing", "there is no command 'nothing'"),
            ("job", ":job needs ID"),
            ("rank one", "'one' is no rank"),
            ("sort age", "there is no column 'age'"),
        ):
            await stage.command(f"{line}")
            await stage.shows(answer)


async def test_an_array_element_is_opened_by_its_key(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        client = stage.cluster.client
        client.details["4702_8"] = dataclasses.replace(
            client.detail("4702_8"), number=4711, work_dir="/w"
        )
        await stage.press("j", "j", "right", "j", "j", "enter")
        await stage.shows("job 4702_8")


async def test_q_leaves_from_the_queue(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("enter", "q")
        assert stage.app.is_running
        await stage.press("q")

        await stage.until(lambda: not stage.app.is_running, "it has ended")


def test_a_screen_that_is_not_made_yet_takes_no_keys() -> None:
    screen = RanksScreen(StepFolder("1", "0", "/nowhere"))

    assert screen.check_action("view", ("merged",)) is False
    assert screen.check_action("command", ()) is False

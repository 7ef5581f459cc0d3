"""The queue on the screen, by keys."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

from hpcbox.errors import SlurmUnavailable
from hpcbox.views import Queue, Wanted
from hpcbox_tui.feed.snapshot import Snapshot
from hpcbox_tui.screens.job import JobScreen
from hpcbox_tui.screens.queue import QueueScreen
from tests.tui.playing import EPOCH, Stage, playing

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_queue_shows_jobs_states_and_reasons_in_plain_words(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        text = stage.text()

        assert "4711" in text
        assert "n[001-004]" in text
        assert "waits for nodes" in text
        assert "alps · everybody's jobs · PD33 R9" in stage.lines()[0]


async def test_an_array_is_one_row_that_unfolds_and_folds(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        assert "4702_7" not in stage.text()
        assert "PD28 R5" in stage.text()

        await stage.press("j", "j", "right")
        assert "4702_7" in stage.text()
        assert "4702_[13-40]" in stage.text()

        await stage.press("j", "left")
        assert "4702_7" not in stage.text()
        assert stage.app.screen.query_one("#queue").cursor == 2  # type: ignore[attr-defined]


async def test_a_filter_works_while_it_is_typed_and_escape_drops_it(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.type("/alice")
        assert "lammps" not in stage.text()
        assert "postprocess" in stage.text()

        await stage.press("enter")
        assert "/alice" in stage.lines()[0]

        await stage.press("escape")
        assert "lammps" in stage.text()


async def test_filters_know_fields_and_inverse_words(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("slash")
        await stage.paste("state=R user!=alice !lammps")
        await stage.press("enter")

        rows = stage.text()
        assert "notebook" in rows
        assert "train" not in rows
        assert "lammps-melt" not in rows
        assert "openfoam" not in rows


async def test_o_sorts_by_the_next_column_and_capital_o_turns_it_round(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.command("sort name")
        assert stage.row_of("cp2k-md") < stage.row_of("eval") < stage.row_of("vasp-held")
        assert "NAME▴" in stage.text()

        await stage.press("O")
        assert stage.row_of("cp2k-md") > stage.row_of("eval") > stage.row_of("vasp-held")

        await stage.press("o")
        assert "USER▾" in stage.text()


async def test_cancel_names_the_marked_jobs_and_the_command_and_cancels_exactly_these(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("j", "space", "j", "space", "x")
        assert "Cancel these 2 jobs?" in stage.text()
        assert "$ scancel 4709 4713" in stage.text()

        await stage.press("y")
        await stage.shows("cancelled 4709 4713")
        states = {key: job.state for key, job in stage.cluster.client.lines.items()}
        assert {key for key, state in states.items() if state == "CANCELLED"} == {
            "4709",
            "4713",
        }


async def test_a_cancel_that_is_not_confirmed_cancels_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        for key in ("n", "escape", "enter"):
            await stage.press("x")
            assert "Cancel this job?" in stage.text()
            await stage.press(key)
            await stage.shows("nothing was cancelled")
        assert stage.cluster.client.lines["4711"].state == "RUNNING"


async def test_when_the_queue_changes_before_the_answer_the_same_job_is_cancelled(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as stage:
        client = stage.cluster.client
        await stage.press("j", "x")
        assert "$ scancel 4709" in stage.text()

        # What stood first goes, so that every row stands for another job.
        client.lines = {key: job for key, job in client.lines.items() if key != "4711"}
        await look_again(stage)
        await stage.press("y")
        await stage.shows("cancelled 4709")

        states = {job.key: job.state for job in client.lines.values()}
        assert [key for key, state in states.items() if state == "CANCELLED"] == ["4709"]


async def test_a_job_that_ended_before_the_answer_is_said_to_be_gone(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("x")
        del stage.cluster.client.lines["4711"]
        await stage.press("y")

        await stage.shows("4711 was gone already")


async def look_again(stage: Stage) -> None:
    """Let the queue be asked for, below whatever is on top."""
    queue = next(screen for screen in stage.app.screen_stack if isinstance(screen, QueueScreen))
    before = queue._queue
    queue.action_look_again()
    await stage.until(lambda: queue._queue is not before, "the queue was asked for again")


async def test_the_cursor_stays_on_its_job_when_others_come_and_go(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        client = stage.cluster.client
        await stage.command("sort id")
        table = stage.app.screen.query_one("#queue")
        await stage.press("G", "k")
        chosen = table.chosen_job()  # type: ignore[attr-defined]

        new = dataclasses.replace(client.lines["4711"], key="1", job_id=1)
        client.lines = {"1": new, **client.lines}
        await look_again(stage)

        assert table.chosen_job() == chosen  # type: ignore[attr-defined]


async def test_when_slurm_fails_the_last_queue_stays_and_the_heading_says_why(
    tmp_path: Path,
) -> None:
    async with playing(tmp_path) as stage:
        failure = SlurmUnavailable("squeue: Unable to contact\x1b[2J slurm controller")
        stage.cluster.client.failure = failure
        stage.clock.now += 90
        await stage.press("ctrl+r")

        await stage.shows("Unable to contact\\x1b[2J")
        assert "train" in stage.text()
        assert "data 90 s old" in stage.lines()[0]

        stage.cluster.client.failure = None
        await stage.press("ctrl+r")
        await stage.shows_not("Unable")
        assert "data now" in stage.lines()[0]


async def test_the_queue_of_the_last_session_is_painted_before_slurm_answers(
    tmp_path: Path,
) -> None:
    snapshot = Snapshot(str(tmp_path / "cache" / "queue.json"))
    async with playing(tmp_path / "one", snapshot=snapshot):
        pass
    kept = Snapshot(str(tmp_path / "cache" / "queue.json"))
    answers = threading.Event()
    async with playing(tmp_path / "two", at=0) as stage:
        real = stage.cluster.client.queue

        def slow(wanted: Wanted) -> Queue:
            answers.wait(20)
            return real(wanted)

        stage.cluster.client.queue = slow  # type: ignore[method-assign]
        stage.app.feed._snapshot = kept
        screen = QueueScreen("alice", everybody=True)
        stage.app.push_screen(screen)

        await stage.shows("asking Slurm")
        await stage.shows("train")
        answers.set()
        await stage.shows_not("asking Slurm")


def test_a_damaged_cache_is_no_queue(tmp_path: Path) -> None:
    path = tmp_path / "queue.json"
    for body in ("", "[]", '{"version": 1}', '{"version":1,"user":"","jobs":[[1]]}', "\xff"):
        path.write_text(body, encoding="latin-1")

        assert Snapshot(str(path)).load(Wanted()) is None


async def test_a_cache_brings_back_the_same_jobs(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        queue = stage.cluster.client.queue(Wanted())
        snapshot = Snapshot(str(tmp_path / "a" / "queue.json"))
        snapshot.keep(queue)
        earlier = snapshot.load(Wanted())

        assert earlier is not None
        assert earlier.jobs == queue.jobs
        assert earlier.taken_at == EPOCH + 60


async def test_a_changes_between_everybodys_jobs_and_mine(tmp_path: Path) -> None:
    async with playing(tmp_path, everybody=False) as stage:
        await stage.shows("alice's jobs")
        assert "lammps" not in stage.text()

        await stage.press("a")
        await stage.shows("lammps")
        await stage.command("me")
        await stage.shows_not("lammps")


async def test_p_stops_asking_and_the_age_grows(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("p")
        await stage.shows("paused")
        stage.go_on(3600)
        await stage.shows("data 60 min old")
        assert "train" in stage.text()

        await stage.press("p")
        await stage.shows("data now")


async def test_y_copies_the_job_id(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("y")

        assert stage.app.clipboard == "4711"
        assert "copied 4711" in stage.text()


async def test_enter_opens_the_job_and_escape_goes_back_but_never_quits(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.press("enter")
        assert isinstance(stage.app.screen, JobScreen)
        await stage.press("escape", "escape", "escape")
        assert isinstance(stage.app.screen, QueueScreen)


async def test_names_of_jobs_cannot_move_the_cursor_of_a_terminal(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        client = stage.cluster.client
        evil = dataclasses.replace(client.lines["4711"], name="\x1b]0;x\x07\x9b2J宽宽宽宽宽宽宽宽")
        client.lines = {**client.lines, "4711": evil}
        await look_again(stage)

        await stage.shows("\\x1b]0;x")
        assert not [c for c in stage.text() if c != "\n" and not c.isprintable()]


async def test_an_empty_queue_says_what_to_do(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        await stage.command("filter nothing-like-that")
        assert "no job is like that" in stage.text()

        await stage.press("escape")
        stage.cluster.client.lines = {}
        await look_again(stage)
        await stage.shows("no jobs — a changes")
        await stage.press("space", "x", "enter", "r", "l", "y", "right", "o", "G", "j")
        assert stage.app.is_running

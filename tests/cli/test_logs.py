"""`hpcbox logs` as a process: what it prints of folders on disk, to pipes and to terminals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from hpcbox.cli.harmless import Harmless, line_text
from hpcbox.cli.log_target import parse_target
from hpcbox.errors import RequestError
from hpcbox.ranks.layout import ERR
from tests.services.commands import wait_until
from tests.services.step_folder import StepFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "hpcbox", "logs"]


@pytest.fixture
def step(tmp_path: Path) -> StepFolder:
    return StepFolder(tmp_path / "work")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and no Slurm."""
    return {"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}


def logs(step: StepFolder, env: dict[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *words], cwd=step.path.parent, env=env, capture_output=True, check=False,
        timeout=30,
    )  # fmt: skip


def on_terminal(step: StepFolder, env: dict[str, str], *words: str) -> bytes:
    """What a terminal is sent."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *words], cwd=step.path.parent, env=env, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        output = bytearray()
        try:
            while block := os.read(leader, 65536):
                output += block
        except OSError:
            # The last process has closed the terminal.
            pass
        process.wait()
    os.close(leader)
    return bytes(output).replace(b"\r\n", b"\n")


def test_one_ranks_bytes_come_as_they_are_each_stream_to_its_own(
    step: StepFolder, env: dict[str, str]
) -> None:
    body = bytes(range(256)) * 5000 + b"\n" + b"x" * 1_000_000
    step.write(3, body)
    step.write(3, b"\x1b[2Jerror", ERR)

    done = logs(step, env, "12:3")

    assert (done.returncode, done.stdout, done.stderr) == (0, body, b"\x1b[2Jerror")
    assert logs(step, env, "12.0:3", "--stdout").stderr == b""
    assert logs(step, env, "12:3", "--stderr").stdout == b""


def test_several_ranks_are_labelled_and_come_rank_by_rank(
    step: StepFolder, env: dict[str, str]
) -> None:
    for text in (b"one\n", b"two\nand"):
        for rank in (2, 0):
            step.write(rank, b"%d %b" % (rank, text))

    assert logs(step, env, "12").stdout.splitlines() == [
        *(b"[0] 0 one", b"[0] 0 two", b"[0] and", b"[2] 2 one", b"[2] 2 two", b"[2] and"),
    ]
    assert logs(step, env, "12:0-2", "--tail", "1").stdout == b"[0] and\n[2] and\n"


def test_merged_lines_come_in_the_order_of_time(step: StepFolder, env: dict[str, str]) -> None:
    for text in (b"one\n", b"two\n"):
        for rank in (2, 1, 3):
            step.write(rank, text)

    assert logs(step, env, "12:all", "--merge").stdout.split(b"\n")[:4] == [
        *(b"[2] one", b"[1] one", b"[3] one", b"[2] two"),
    ]


def test_lines_are_found_by_a_regular_expression(step: StepFolder, env: dict[str, str]) -> None:
    step.write(0, b"fine\nERROR 1\nfine\nerror\n")
    step.write(1, b"ERROR \xff\n", ERR)

    done = logs(step, env, "12", "--grep", "^ERROR")

    assert (done.stdout, done.stderr) == (b"[0] ERROR 1\n", b"[1] ERROR \xff\n")
    assert logs(step, env, "12:0", "--grep", "(?i)error").stdout == b"ERROR 1\nerror\n"


def test_json_has_an_object_for_each_line(step: StepFolder, env: dict[str, str]) -> None:
    step.write(0, b"a\xff\x1b[1m\nb")
    step.write(1, b"c\n", ERR)

    done = logs(step, env, "12", "--merge", "--json")

    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (first["rank"], first["stream"], first["text"]) == (0, "out", "a\ufffd\x1b[1m")
    assert first["time"] == pytest.approx(time.time(), abs=100)
    assert (second["rank"], second["stream"], second["text"]) == (1, "err", "c")
    assert (third["text"], third["time"]) == ("b", None)


def test_a_terminal_is_sent_colours_but_nothing_that_moves_it(
    step: StepFolder, env: dict[str, str]
) -> None:
    step.write(
        0, b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x9b2J \xff \x08\x08 \xe2\x80\xaeab\n"
    )
    step.write(1, b"x\n")

    for words in (["12:0"], ["12"], ["12", "--merge"], ["12", "-f"]):
        step.end()
        sent = on_terminal(step, env, *words)
        assert b"\x1b[31mred\x1b[0m" in sent
        rest = sent.replace(b"\x1b[31m", b"").replace(b"\x1b[0m", b"")
        assert not set(rest) & ({*range(32), 127} - {ord("\n"), ord("\t")}), rest
        assert b"\\x1b]0;title\\x07" in rest
    assert b"\x1b[2J" in on_terminal(step, env, "12:0", "--raw")


def test_a_bar_of_carriage_returns_is_its_last_state_where_lines_are_labelled(
    step: StepFolder, env: dict[str, str]
) -> None:
    step.write(0, b"10%\r50%\r100%\r\n")
    step.write(1, b"x\n")

    assert on_terminal(step, env, "12") == b"[0] 100%\n[1] x\n"
    assert logs(step, env, "12:0").stdout == b"10%\r50%\r100%\r\n"


@pytest.mark.parametrize("cut", range(1, 30))
def test_what_is_harmful_is_so_however_it_is_cut(cut: int) -> None:
    data = "a\x1b[31mb\x1b[2Jc\r\nd\re\x1b]0;x\x07é世\u202e\x9b".encode() + b"\xe4\xb8"
    text, whole = Harmless(), Harmless()

    parts = "".join(text.feed(data[start : start + cut]) for start in range(0, len(data), cut))

    assert parts + text.feed(b"", final=True) == whole.feed(data, final=True)
    assert line_text(b"\x1b") == "\\x1b"


def followed(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def follow(step: StepFolder, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`hpcbox logs -f` of all ranks, which has printed a first line."""
    step.write(0, b"first\n")
    with subprocess.Popen(
        [*COMMAND, "12:0", "-f"], cwd=step.path.parent, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert followed(process) == b"first\n"
        yield process
        process.kill()


def test_following_ends_when_the_step_has_ended_and_loses_nothing(
    step: StepFolder, follow: subprocess.Popen[bytes]
) -> None:
    step.write(0, b"second\n", index=False)
    second = followed(follow)
    step.write(0, b"last, torn")
    step.end()

    output, errors = follow.communicate(timeout=20)

    assert (second, output, errors, follow.returncode) == (b"second\n", b"last, torn", b"", 0)


def test_following_goes_on_when_the_file_is_cut_or_removed(
    step: StepFolder, follow: subprocess.Popen[bytes]
) -> None:
    file = step.path / "rank-00000.out"
    file.write_bytes(b"")
    # What is written before the follower has looked at the empty file would seem to be old.
    wait_for_a_look(follow.pid)
    file.write_bytes(b"new\n")
    assert followed(follow) == b"new\n"

    file.unlink()
    wait_for_a_look(follow.pid)
    step.end()

    assert follow.wait(20) == 0


def wait_for_a_look(pid: int) -> None:
    """Wait until a process has slept and woken a few times: it has looked at its files since."""

    def times_slept() -> int:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("voluntary")).split()[1])

    before = times_slept()
    wait_until(lambda: times_slept() > before + 3, timeout_seconds=20, what="it has slept")


def test_ctrl_c_ends_following_with_130_and_no_trace(follow: subprocess.Popen[bytes]) -> None:
    follow.send_signal(signal.SIGINT)

    _, errors = follow.communicate(timeout=20)

    assert (follow.returncode, errors) == (130, b"hpcbox: interrupted\n")


def test_a_reader_that_goes_away_ends_it_quietly(step: StepFolder, env: dict[str, str]) -> None:
    step.write(0, b"line\n" * 100_000)
    with subprocess.Popen(
        [*COMMAND, "12:0"], cwd=step.path.parent, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert (process.stderr.read(), process.wait(20)) == (b"", 0)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["12:9"], 64, "has no rank 9 — it has ranks 0 to 3"),
        (["12.7"], 64, "step 12.7 has left no output — there is output of steps 0"),
        (["x/y"], 64, "names no output"),
        (["12:5-3"], 64, "'5-3' is no rank"),
        (["12", "--grep", "("], 64, "regular expression"),
        (["13"], 69, "can't run"),
        (["none"], 64, "there is no job none"),
    ],
)
def test_what_is_not_there_is_one_line(
    step: StepFolder, env: dict[str, str], words: list[str], code: int, text: str
) -> None:
    done = logs(step, env, *words)

    assert done.returncode == code
    assert text in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_folder_elsewhere_is_named_by_dir(
    step: StepFolder, env: dict[str, str], tmp_path: Path
) -> None:
    step.write(0, b"here\n")

    done = subprocess.run(
        [*COMMAND, "12:0", "--dir", step.path.parent], cwd="/", env=env, capture_output=True,
        check=True, timeout=30,
    )  # fmt: skip

    assert done.stdout == b"here\n"
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    "text", ["", ":", "12:", "12.", "12:0-", "12:-1", "12:1,,2", "12:99999999"]
)
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        parse_target(text)

"""What squeue prints becomes jobs, whatever is in it; no cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.cluster import squeue, texts
from hpcbox.cluster.log_paths import batch_path, expand
from hpcbox.cluster.usage import used_by

if TYPE_CHECKING:
    from hpcbox.cluster.model import Job

MARK = "qWeRtYzUiOpA"
MIDDLE, END = "qWeRtY", "zUiOpA"
# What an argument of a program can be.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)


def record(
    key: str = "12", name: str = "job", state: str = "RUNNING", container: str = "(null)"
) -> bytes:
    fields = [key, "alice", "(null)", "debug", "(null)", state, "None", "1-02:03:04", "UNLIMITED"]
    fields += ["2", "8", "n[1-2]", "1795320623", "N/A"]
    return f"{squeue.SEPARATOR.join(fields)}{MIDDLE}{container}{MIDDLE}{name}{END}\n".encode()


def parse(output: bytes, piece_bytes: int = 7) -> tuple[tuple[Job, ...], int]:
    parser, records = squeue.JobParser(), squeue.Records(MARK, 2)
    for start in range(0, len(output), piece_bytes):
        parser.feed(records.feed(output[start : start + piece_bytes]))
    return parser.finish()


def test_a_line_becomes_a_job() -> None:
    (job,), skipped = parse(record())

    assert (job.key, job.user, job.account, job.state, job.reason) == (
        *("12", "alice", "", "RUNNING", ""),
    )
    assert (job.elapsed_seconds, job.limit_seconds) == (93784, None)
    assert (job.nodes, job.cpus, job.node_list) == (2, 8, "n[1-2]")
    assert (job.submitted, job.started, skipped) == (1795320623, None, 0)


@given(TEXTS, TEXTS, st.integers(1, 50))
def test_no_name_or_container_makes_another_line(name: str, container: str, piece: int) -> None:
    output = record("1") + record("2", name, container=container) + record("3")

    jobs, skipped = parse(output, piece)

    assert [job.key for job in jobs] == ["1", "2", "3"]
    assert jobs[1].name == texts.plain(name)
    assert jobs[1].container == texts.plain(container)
    assert skipped == 0


def test_what_squeue_says_between_lines_is_no_job() -> None:
    jobs, skipped = parse(b"CLUSTER: lab\n" + record("1") + b"\nCLUSTER: other\n" + record("2"))

    assert ([job.key for job in jobs], skipped) == (["1", "2"], 0)


def test_a_line_that_is_not_understood_is_counted_and_left_out() -> None:
    short = f"12{squeue.SEPARATOR}alice{MIDDLE}x{MIDDLE}y{END}\n".encode()
    no_id = record("none")

    jobs, skipped = parse(record("1") + short + no_id + record("2")[:-3])

    assert ([job.key for job in jobs], skipped) == (["1"], 2)


def test_invalid_utf_8_in_a_name_is_replaced() -> None:
    (job,), _ = parse(record(name="NAME").replace(b"NAME", b"\xff\x80x"))

    assert job.name == "\ufffd\ufffdx"


def test_states_of_a_newer_slurm_are_kept_as_they_are() -> None:
    (job,), _ = parse(record(state="HIBERNATING"))

    assert job.state == "HIBERNATING"


def test_a_line_that_is_as_it_was_is_the_same_job_object() -> None:
    parser = squeue.JobParser()
    parser.feed(squeue.Records(MARK, 2).feed(record("1") + record("2")))
    first, _ = parser.finish()
    # Another query draws another mark.
    other = record("2").replace(MIDDLE.encode(), b"aB").replace(END.encode(), b"cD")
    parser.feed(squeue.Records("aBcD", 2).feed(other))
    second, _ = parser.finish()

    assert second[0] is first[1]


@pytest.mark.parametrize(
    ("shown", "key", "tasks"),
    [
        ("12", "12", 1),
        ("12_3", "12_3", 1),
        ("12+1", "12+1", 1),
        ("12_[4-20]", "12_[4-20]", 17),
        ("12_[1-9:4,20-21%2]", "12_[1,5,9,20-21]", 5),
        ("12_[7%1]", "12_[7]", 1),
        ("12_[1-999999999999]", "12_[1-999999999999]", 1),
    ],
)
def test_an_arrays_key_is_what_scancel_takes(shown: str, key: str, tasks: int) -> None:
    (job,), _ = parse(record(shown))

    assert (job.key, job.job_id, job.tasks) == (key, 12, tasks)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("slurm-%j.out", "slurm-15.out"),
        ("%x-%A_%a-%N.%t", "train-12_3-n1.0"),
        ("log-%5j-%03a", "log-00015-003"),
        ("100%%-%q-%", "100%-%q-%"),
        ("\\%j", "%j"),
    ],
)
def test_patterns_of_file_names_are_expanded_as_slurm_does(pattern: str, path: str) -> None:
    values = {"j": "15", "A": "12", "a": "3", "x": "train", "N": "n1", "t": "0"}

    assert expand(pattern, values) == path


def test_a_jobs_name_cannot_forge_its_log_path() -> None:
    shown = (
        "JobId=1 JobName=x StdOut=/etc/shadow Power= UserId=a "
        "StdErr=/h/a b.err StdOut=/h/a b-%N.out Power= \n"
    )

    assert batch_path(shown, "StdOut", {"N": "n7"}) == "/h/a b-n7.out"
    assert batch_path(shown, "StdErr", {}) == "/h/a b.err"
    assert batch_path("JobId=1 JobName=x", "StdOut", {}) == ""


def test_usage_is_added_up_over_tasks_and_steps() -> None:
    output = "1|00:01:00|100M\n4|00:00:30.000|1.5G\nnonsense\n||\n"

    assert used_by(output, 60) == (("cpu", "3.0"), ("mem", "6.1G"))
    assert used_by("", 60) == ()

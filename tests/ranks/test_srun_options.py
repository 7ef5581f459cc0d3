"""A command line read as srun reads it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.errors import HpcboxError, LaunchRefused, RequestError
from hpcbox.ranks import launch_commands
from hpcbox.ranks.asked_container import asked_container
from hpcbox.ranks.choose import Choice
from hpcbox.ranks.exported import exported
from hpcbox.ranks.srun_options import parse, refuse_without_srun
from hpcbox.ranks.srun_table import OPTIONS


def test_options_end_at_the_command() -> None:
    line = parse(["-N2", "--label", "hostname", "-N3", "--mpi=none", "--", "x"])

    assert line.command == ("hostname", "-N3", "--mpi=none", "--", "x")
    assert line.value("nodes") == "2"
    assert line.has("label")
    assert not line.has("mpi")


def test_two_dashes_end_options_too() -> None:
    line = parse(["-n", "4", "--", "-odd-name", "-x"])

    assert line.command == ("-odd-name", "-x")


@pytest.mark.parametrize(
    "words",
    [
        ["-n4", "-N2", "-l"],
        ["-n", "4", "-N", "2", "--label"],
        ["--ntasks=4", "--nodes", "2", "--lab"],
        ["-ln4", "-N2"],
        ["-lN", "2", "--ntasks", "4"],
        ["-n9", "-N2", "-l", "-n4"],
    ],
)
def test_every_way_of_writing_an_option_means_the_same(words: list[str]) -> None:
    line = parse([*words, "hostname"])

    assert (line.value("ntasks"), line.value("nodes"), line.has("label")) == ("4", "2", True)
    assert line.command == ("hostname",)


def test_an_optional_value_is_the_attached_one_only() -> None:
    line = parse(["-K", "0"])
    other = parse(["-K0", "--immediate", "cmd"])

    assert (line.value("kill-on-bad-exit"), line.command) == ("", ("0",))
    assert (other.value("kill-on-bad-exit"), other.value("immediate")) == ("0", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--no-such-thing", "x"], "--no-such-thing"),
        (["--ntasks-per", "4", "x"], "--ntasks-per-node, --ntasks-per-core"),
        (["-9", "x"], "-9"),
        (["-n"], "-n wants a value"),
        (["--ntasks"], "--ntasks wants a value"),
        (["--label=yes", "x"], "--label takes no value"),
        (["--=", "x"], "option --"),
        (["--\x1b[2J", "x"], "\\x1b"),
    ],
)
def test_what_is_no_option_is_refused_by_name(words: list[str], says: str) -> None:
    with pytest.raises(RequestError, match=re.escape(says)):
        parse(words)


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["--cpu-bind=none"], "--cpu-bind"),
        (["--pty"], "--pty"),
        (["-m", "cyclic"], "-m"),
        (["--multi-prog"], "--multi-prog"),
        (["-K0"], "-K=0"),
        (["--mem=1G"], "--mem"),
        (["--gres=gpu:1"], "--gres"),
    ],
)
def test_what_only_srun_can_do_is_refused_by_name_without_it(
    words: list[str], written: str
) -> None:
    line = parse([*words, "x"])

    with pytest.raises(LaunchRefused, match=re.escape(f"--launcher=ssh has no {written}")):
        refuse_without_srun(line, "ssh", inside=True)


def test_steps_of_several_components_are_refused_without_srun() -> None:
    with pytest.raises(LaunchRefused, match="several components"):
        refuse_without_srun(parse(["-n1", "a", ":", "-n2", "b"]), "ssh", inside=True)


def test_what_chooses_an_allocation_goes_to_salloc_and_not_further() -> None:
    line = parse(["-N2", "-p", "main", "--mem=1G", "-l", "--overlap", "--container=i", "x", "-p"])

    refuse_without_srun(line, "ssh", inside=False)
    command = launch_commands.salloc_command(line, ["hpcbox"])

    assert command == [
        *("salloc", "--nodes=2", "--partition=main", "--mem=1G"),
        *("hpcbox", "srun", "--launcher=ssh", "--nodes=2", "--label", "--container=i"),
        *("--", "x", "-p"),
    ]


def test_srun_gets_its_options_as_they_were_and_none_of_hpcboxs() -> None:
    line = parse(
        ["--launcher=srun", "-n4", "--cpu-bind=none", "--container=i", "--mpi=pmix", "-K", "-x",
         "n1", "--container-mounts=/a", "--", "-strange", ":", "b"]
    )  # fmt: skip
    container = asked_container(line, {})

    command = launch_commands.srun_command(
        line, container, Choice("srun", "pmix", ""), has_plugin=True
    )

    assert command == [
        *("srun", "--mpi=pmix", "--container-image=i", "--ntasks=4", "--cpu-bind=none"),
        *("--kill-on-bad-exit", "--exclude=n1", "--container-mounts=/a"),
        *("--", "-strange", ":", "b"),
    ]


def test_srun_is_not_told_what_the_job_knows() -> None:
    line = parse(["x"])
    container = asked_container(line, {"SLURM_HPCBOX_IMAGE": "a b -"})

    command = launch_commands.srun_command(line, container, Choice("srun", "", ""), has_plugin=True)

    assert (container.image, command) == ("a b", ["srun", "x"])


@pytest.mark.parametrize(
    ("words", "environ", "image"),
    [
        (["--container=a"], {"SLURM_CONTAINER": "b"}, "a"),
        (["--container-image=a", "--container=a"], {}, "a"),
        (["--container=none"], {"SLURM_HPCBOX_IMAGE": "b -"}, ""),
        ([], {"SLURM_HPCBOX_IMAGE": "b -", "SLURM_CONTAINER": "c"}, "b"),
        ([], {"SLURM_CONTAINER": "c", "HPCBOX_CONTAINER_IMAGE": "d"}, "c"),
        ([], {"PYXIS_CONTAINER_IMAGE": "e"}, "e"),
        ([], {}, ""),
    ],
)
def test_the_image_is_the_one_that_the_plugin_would_take(
    words: list[str], environ: dict[str, str], image: str
) -> None:
    assert asked_container(parse([*words, "x"]), environ).image == image


def test_two_flags_that_name_different_images_are_refused() -> None:
    line = parse(["--container=a", "--container-image=b", "x"])

    with pytest.raises(RequestError, match="different images"):
        asked_container(line, {})


def test_the_jobs_digest_and_mounts_come_along() -> None:
    digest = "sha256:" + "a" * 64
    environ = {"SLURM_HPCBOX_IMAGE": f"i {digest}", "SLURM_HPCBOX_MOUNTS": "/data"}

    found = asked_container(parse(["x"]), environ)
    other = asked_container(parse(["--container=j", "--container-mounts=/b", "x"]), environ)

    assert (found.digest, found.options.mounts) == (digest, "/data")
    assert (other.digest, other.options.mounts) == ("", "/b")


ENVIRONMENT = {"A": "1", "B": "2", "SLURM_JOB_ID": "3"}


@pytest.mark.parametrize(
    ("choice", "variables"),
    [
        (None, ENVIRONMENT),
        ("ALL", ENVIRONMENT),
        ("NONE", {"SLURM_JOB_ID": "3"}),
        ("A", {"A": "1", "SLURM_JOB_ID": "3"}),
        ("A=5,MISSING", {"A": "5", "SLURM_JOB_ID": "3"}),
        ("ALL,A=5", {**ENVIRONMENT, "A": "5"}),
        ("C='x,y',D=", {"C": "x,y", "D": "", "SLURM_JOB_ID": "3"}),
    ],
)
def test_export_gives_what_srun_would_give(choice: str | None, variables: dict[str, str]) -> None:
    assert exported(choice, ENVIRONMENT) == variables


def test_a_variable_without_name_is_refused() -> None:
    with pytest.raises(RequestError, match="'=1'"):
        exported("=1", {})


@given(st.lists(st.text(max_size=12), max_size=6))
def test_words_are_read_or_refused_in_a_line_that_can_be_shown(words: list[str]) -> None:
    said = ""
    try:
        line = parse(words)
        launch_commands.salloc_command(line, ["hpcbox"])
        asked_container(line, {})
    except HpcboxError as error:
        said = str(error)

    assert said == "" or said.isprintable()


def test_the_table_has_each_name_and_letter_once() -> None:
    names = [option.name for option in OPTIONS]
    letters = [option.short for option in OPTIONS if option.short]

    assert len(set(names)) == len(names)
    assert len(set(letters)) == len(letters)

"""The command line as a person or script meets it: real processes."""

import os
import subprocess
import sys

import pytest


def hpcbox(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpcbox", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        timeout=60,
    )


def test_version_is_printed() -> None:
    result = hpcbox("--version")

    assert result.returncode == 0
    assert result.stdout.startswith("hpcbox 0.")


def test_without_a_terminal_and_a_verb_the_overview_is_printed() -> None:
    result = hpcbox()

    assert result.returncode == 0
    assert "hpcbox VERB --help" in result.stdout


def test_an_unknown_verb_is_one_line_and_exit_code_64() -> None:
    result = hpcbox("pul")

    assert result.returncode == 64
    assert result.stderr == "hpcbox: there is no verb 'pul' — see 'hpcbox --help'\n"


def test_an_unknown_option_of_a_verb_is_one_line() -> None:
    result = hpcbox("settings", "--nonsense")

    assert result.returncode == 64
    assert result.stderr.count("\n") == 1
    assert "--nonsense" in result.stderr


def test_a_wrong_variable_names_itself() -> None:
    result = hpcbox("settings", HPCBOX_STORE="relative/path")

    assert result.returncode == 78
    assert "HPCBOX_STORE" in result.stderr
    assert "absolute" in result.stderr


def test_settings_show_their_origin() -> None:
    result = hpcbox("settings", HPCBOX_STORE="/var/tmp/images")

    line = next(line for line in result.stdout.splitlines() if line.startswith("store "))
    assert "/var/tmp/images" in line
    assert "HPCBOX_STORE" in line


@pytest.mark.parametrize("package", ["asyncio", "docker", "asyncssh", "textual", "urllib3"])
def test_version_loads_none_of_the_heavy_packages(package: str) -> None:
    script = (
        "import sys\nfrom hpcbox.cli.main import main\n"
        "try:\n main(['--version'])\nexcept SystemExit:\n pass\n"
        f"sys.exit({package!r} in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)

    assert result.returncode == 0


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["im"], {"images"}),
        (["--v"], {"--version"}),
        (["gc", "--dr"], {"--dry-run"}),
        (["srun", "--container-mo"], {"--container-mounts"}),
        (["completion", ""], {"bash", "zsh"}),
    ],
)
def test_a_shell_completes_verbs_and_options(words: list[str], wanted: set[str]) -> None:
    script = hpcbox("completion", "bash").stdout
    ask = """
        COMP_WORDS=(hpcbox "$@") COMP_CWORD=$#
        function_=$(complete -p hpcbox | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        "$function_" hpcbox "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    done = subprocess.run(
        ["bash", "--norc", "-c", script + ask, "bash", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )

    assert wanted <= set(done.stdout.split())
    assert done.stderr == ""


def test_a_shell_that_is_not_known_is_refused() -> None:
    result = hpcbox("completion", "csh")

    assert result.returncode == 64
    assert "bash" in result.stderr


@pytest.mark.parametrize("words", [["completion", "bash"], ["settings"]])
def test_a_reader_that_goes_early_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "hpcbox", *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    ) as process:
        os.close(writing)
        os.close(reading)
        _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")

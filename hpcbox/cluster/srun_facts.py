"""What this machine's srun can do: told by srun itself, in three short commands (8 ms each).

`srun --help` loads the site's plugins and lists their options, so it knows better than any file;
none of this asks the controller but for the default of --mpi.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from hpcbox import processes
from hpcbox.errors import SlurmUnavailable, shorten

TIMEOUT_SECONDS = 10.0

# The name of the option is pyxis's too; its text is not (spank/options.c).
_PLUGIN = re.compile(rb"--container-image=IMAGE\s+run inside this image")
_TYPE = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_DEFAULT = re.compile(r"^MpiDefault\s*=\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SrunFacts:
    """What srun can do here.

    Attributes:
        problem: why there is no usable srun, "" when there is one.
        has_plugin: hpcbox's plugin is configured.
        mpi_types: values that --mpi takes.
    """

    problem: str
    has_plugin: bool = False
    mpi_types: tuple[str, ...] = ()


def ask(environ: Mapping[str, str]) -> SrunFacts:
    """Ask srun what it can do.

    Raises:
        SlurmUnavailable: it doesn't answer.
    """
    if shutil.which("srun", path=environ.get("PATH")) is None:
        return SrunFacts("there is no srun")
    listing = _run(["srun", "--help"], environ)
    if listing.code != 0:
        first = listing.errors.decode("utf-8", "replace").strip().split("\n")[-1]
        return SrunFacts(f"srun has no cluster: {shorten(first, 120)}")
    types = _run(["srun", "--mpi=list"], environ)
    text = (types.output + types.errors).decode("utf-8", "replace")
    return SrunFacts(
        problem="",
        has_plugin=_PLUGIN.search(listing.output) is not None,
        mpi_types=_types(text),
    )


def default_mpi(environ: Mapping[str, str]) -> str:
    """Return the --mpi that srun uses when none is given.

    Raises:
        SlurmUnavailable: the controller doesn't answer.
    """
    ended = _run(["scontrol", "show", "config"], environ)
    match = _DEFAULT.search(ended.output.decode("utf-8", "replace"))
    if match is None:
        said = shorten(ended.errors.decode("utf-8", "replace").strip())
        raise SlurmUnavailable(f"scontrol can't show Slurm's configuration: {said}")
    return match[1]


def _types(text: str) -> tuple[str, ...]:
    """Return the words of srun's list: one a line, with prefixes that differ by release."""
    words = (line.rpartition(":")[2].strip() for line in text.splitlines())
    return tuple(dict.fromkeys(word for word in words if _TYPE.fullmatch(word)))


def _run(argv: list[str], environ: Mapping[str, str]) -> processes.Ended:
    try:
        return processes.run(argv, timeout_seconds=TIMEOUT_SECONDS, environment=environ)
    except OSError as error:
        raise SlurmUnavailable(f"{argv[0]} can't be asked: {error.strerror}") from error

"""`hpcbox srun`: the ranks of a job in an image, by srun where it can, else over ssh or here."""

import argparse
import getpass
import itertools
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcbox.cli import image_mpi
from hpcbox.cluster import srun_facts
from hpcbox.cluster.srun_facts import SrunFacts
from hpcbox.errors import LaunchRefused, RequestError, SlurmUnavailable, one_line
from hpcbox.image.local_path import parse_typed
from hpcbox.image.reference import LocalReference
from hpcbox.ranks import allocation, launch_commands, layout, process_manager, srun_options
from hpcbox.ranks.allocation import Allocation, Shape
from hpcbox.ranks.asked_container import AskedContainer, asked_container
from hpcbox.ranks.choose import Choice, Wanted, choose
from hpcbox.ranks.plan import LaunchPlan
from hpcbox.ranks.srun_options import LAUNCHERS, CommandLine
from hpcbox.request.flags import FLAGS
from hpcbox.settings import Settings

HELP = """Start the ranks of a job in an image.

Takes srun's options (-N -n -c --ntasks-per-node -w -x -o -e -i -D -l --export --mpi …) and the
container options. Where srun can enter the container and suits the image's MPI, srun does it all.
Else hpcbox starts the ranks over ssh inside the allocation (salloc gets one where there is none),
or on this machine where there is no Slurm; options that only srun has are refused then.

Ends with the code of the first rank that failed, 128 + N when signal N ended it, 127 when the
image has no such command, 126 when it can't be executed, 125 when hpcbox could not start it."""
EXAMPLES = """  hpcbox srun -N4 -n16 --container=registry.site:5000/mpich:1 ./solver input.txt
  hpcbox srun -n8 --label --container=openmpi:5 --container-mounts=/data ./solver
  hpcbox srun -n4 --mpi=env --container=pytorch:2 python train.py
  hpcbox srun --launcher=ssh -o rank-%t.out --container=mpich:4 ./solver
  hpcbox srun --explain -n16 --container=mpich:4 ./solver"""
FAILURE_CODE = 125
_INPUT_MODE = os.O_RDONLY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Asked:
    """All that was found out before anything starts."""

    line: CommandLine
    container: AskedContainer
    program: image_mpi.ProgramMpi
    srun: SrunFacts
    job: Allocation | None
    choice: Choice
    note: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options for --help; `read_arguments` reads them by srun's rules."""
    parser.usage = "%(prog)s [OPTION …] CMD [ARGUMENT …]"
    parser.add_argument("--container", metavar="REF", help="run the ranks in this image")
    for flag in FLAGS:
        text = flag.help if flag.built else f"{flag.help} (not in this version)"
        action: Any = {"metavar": flag.argument} if flag.argument else {"action": "store_true"}
        parser.add_argument(f"--{flag.name}", help=text, **action)
    parser.add_argument(
        "--mpi",
        metavar="TYPE",
        help="srun's types (pmi2, pmix, …), or hpcbox's: hydra, env (RANK, WORLD_SIZE, "
        "MASTER_ADDR, …), none; default: what the image needs",
    )
    parser.add_argument(
        "--launcher",
        metavar="|".join(LAUNCHERS),
        help="who starts the ranks (default: $HPCBOX_LAUNCHER, else the site's, else auto)",
    )
    parser.add_argument("--explain", action="store_true", help="show what would run; run nothing")
    parser.add_argument("--json", action="store_true", help="with --explain: print JSON")


def read_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the words as srun would.

    Raises:
        RequestError: they can't be read, or name no command.
    """
    line = srun_options.parse(words)
    if line.has("help"):
        parser.print_help()
        parser.exit()
    if not line.command:
        raise RequestError("no command was given", hint="see 'hpcbox srun --help'")
    if line.has("json") and not line.has("explain"):
        raise RequestError("--json goes with --explain")
    return argparse.Namespace(line=line)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Choose a launcher and start the ranks; srun and salloc take this process's place.

    Raises:
        HpcboxError: it can't be done, or not so.
    """
    asked = _find_out(arguments.line, settings, os.environ)
    if asked.line.has("explain"):
        _explain(asked)
        return 0
    if asked.note:
        print(f"hpcbox: {asked.note}", file=sys.stderr)
    command = _command(asked)
    if command:
        return _become(command)
    from hpcbox.ranks import launch  # noqa: PLC0415 - asyncio, which srun does without

    file = launch_commands.input_file(asked.line)
    if file is not None:
        _read_from(file)
    return launch.run(_plan(asked), settings)


def _find_out(line: CommandLine, settings: Settings, environ: Mapping[str, str]) -> _Asked:
    container = _with_whole_path(asked_container(line, environ), settings)
    program = image_mpi.of_program(line.command, container, settings, environ)
    srun = srun_facts.ask(environ)
    job = allocation.here(environ)
    support = program.support
    wanted = Wanted(
        launcher=line.value("launcher") or settings.launcher,
        mpi=(line.value("mpi") or "").removeprefix("auto"),
        image=container.image,
        family=program.family,
        product=support.product if support else program.family,
        pmi=support.pmi if support else (),
        in_allocation=job is not None,
    )
    choice = choose(wanted, srun)
    if choice.launcher != "srun":
        inside = job is not None or choice.launcher == "local"
        srun_options.refuse_without_srun(line, choice.launcher, inside=inside)
    _refuse_singletons(line, program, choice, job, environ)
    note = _note(container, program, choice, environ)
    return _Asked(line, container, program, srun, job, choice, note)


def _with_whole_path(container: AskedContainer, settings: Settings) -> AskedContainer:
    """Return it with the path of an image on this machine as the nodes need it."""
    if not container.image:
        return container
    reference = parse_typed(container.image, settings.default_registry)
    if not isinstance(reference, LocalReference):
        return container
    return replace(container, image=str(reference))


def _refuse_singletons(
    line: CommandLine,
    program: image_mpi.ProgramMpi,
    choice: Choice,
    job: Allocation | None,
    environ: Mapping[str, str],
) -> None:
    """Refuse a pairing now that would only be caught when the ranks run."""
    offered = {"pmi2": "PMI_FD", "hydra": "PMI_FD", "pmix": "PMIX_RANK", "none": "", "env": ""}
    if choice.mpi not in offered:
        return
    text = process_manager.refusal(
        program.needs,
        {*environ, offered[choice.mpi]},
        allocation.shape(line, job).tasks if job else allocation.asked_tasks(line),
        launcher=choice.launcher,
        spoken=lambda: program.support.pmi if program.support else (),
    )
    if text is not None:
        raise LaunchRefused(f"--mpi={choice.mpi} doesn't fit {one_line(line.command[0])}: {text}")


def _note(
    container: AskedContainer,
    program: image_mpi.ProgramMpi,
    choice: Choice,
    environ: Mapping[str, str],
) -> str:
    """Return what the user should know about a choice that was made in the dark."""
    if choice.launcher != "srun" or choice.mpi or not container.image:
        return ""
    if program.supports is not None and len(program.supports) < 2:
        return ""
    default = environ.get("SLURM_MPI_TYPE") or srun_facts.default_mpi(environ)
    known = "several MPIs are in it" if program.supports else "its MPI isn't known here"
    hint = f"give --mpi, or once 'hpcbox pull {container.image}'"
    if program.supports:
        hint = "give --mpi"
    return f"{container.image}: {known}, so srun's default --mpi={default} is used — {hint}"


def _shape(line: CommandLine, job: Allocation | None) -> Shape:
    if job is None:
        return allocation.local_shape(line, os.uname().nodename)
    return allocation.shape(line, job)


def _command(asked: _Asked) -> list[str]:
    """Return the command that takes this process's place, [] when hpcbox itself launches."""
    if asked.choice.launcher == "srun":
        return launch_commands.srun_command(
            asked.line, asked.container, asked.choice, has_plugin=asked.srun.has_plugin
        )
    if asked.choice.launcher == "ssh" and asked.job is None:
        # -P: a module of this name in the working directory isn't meant.
        return launch_commands.salloc_command(asked.line, [sys.executable, "-P", "-m", "hpcbox"])
    return []


def _become(command: list[str]) -> int:
    try:
        os.execvp(command[0], command)  # noqa: S606 - the user's own command line
    except OSError as error:
        raise SlurmUnavailable(f"{command[0]} can't be started: {error.strerror}") from error


def _plan(asked: _Asked) -> LaunchPlan:
    line, cwd = asked.line, os.getcwd()
    if line.has("chdir"):
        cwd = os.path.normpath(os.path.join(cwd, line.value("chdir") or ""))
    job = asked.job.job if asked.job else "local"
    return launch_commands.launch_plan(
        line,
        asked.container,
        asked.choice,
        job=asked.job,
        shape=_shape(line, asked.job),
        step=_free_step(cwd, job, asked.choice.launcher),
        environ=os.environ,
        cwd=cwd,
        user=getpass.getuser(),
    )


def _free_step(cwd: str, job: str, launcher: str) -> str:
    """Return a step id that no other launch in this working directory has had."""
    prefix = "ssh" if launcher == "ssh" else ""
    names = (f"{prefix}{number}" for number in itertools.count())
    return next(
        name for name in names if not os.path.lexists(f"{cwd}/{layout.folder_name(job, name)}")
    )


def _read_from(file: str) -> None:
    try:
        descriptor = os.open(file, _INPUT_MODE)
    except OSError as error:
        raise RequestError(f"--input={file} can't be read: {error.strerror}") from error
    os.dup2(descriptor, 0)
    os.close(descriptor)


def _explain(asked: _Asked) -> None:
    """Print what would run and why; the keys are those of --json."""
    supports = asked.program.supports
    command = _command(asked)
    shape = None if command and asked.job is None else _shape(asked.line, asked.job)
    table: dict[str, Any] = {
        "launcher": asked.choice.launcher,
        "reason": asked.choice.reason,
        "image": asked.container.image,
        "image_mpi": None if supports is None else [str(one) for one in supports],
        "mpi": asked.choice.mpi,
        "job": asked.job.job if asked.job else "",
        "nodes": shape.nodes if shape else (),
        "tasks": shape.tasks if shape else None,
        "command": command or asked.line.command,
        "note": asked.note,
    }
    if asked.line.has("json"):
        print(json.dumps(table, indent=1))
        return
    known = "unknown until pulled" if supports is None else "; ".join(table["image_mpi"])
    rows = [
        ("launcher", f"{table['launcher']}: {table['reason']}"),
        ("image", table["image"] or "none: the ranks run on the host"),
        *([("image's MPI", known or "none found")] if table["image"] else []),
        ("--mpi", table["mpi"] or "the site's default"),
        ("job", table["job"] or "none yet"),
        ("nodes", " ".join(table["nodes"]) or "those that Slurm gives"),
        ("tasks", table["tasks"] or "as Slurm counts them"),
        ("command", shlex.join(table["command"])),
        *([("note", table["note"])] if table["note"] else []),
    ]
    print("\n".join(f"{name:<12} {one_line(str(value))}" for name, value in rows))

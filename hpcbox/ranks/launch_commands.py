"""The command lines that `hpcbox srun` becomes, and the plan of a launch without srun; pure."""

from collections.abc import Mapping, Sequence

from hpcbox.errors import LaunchRefused, shorten
from hpcbox.ranks import allocation
from hpcbox.ranks.allocation import Allocation, Shape
from hpcbox.ranks.asked_container import AskedContainer
from hpcbox.ranks.choose import Choice
from hpcbox.ranks.exported import exported
from hpcbox.ranks.plan import LaunchPlan
from hpcbox.ranks.srun_options import CommandLine


def srun_command(
    line: CommandLine, container: AskedContainer, choice: Choice, *, has_plugin: bool
) -> list[str]:
    """Return srun's command line.

    The image goes as --container-image, never as --container: since 23.02 Slurm's own option
    breaks --mpi=pmix on sites without an oci.conf.
    """
    words = ["srun"]
    if choice.mpi:
        words.append(f"--mpi={choice.mpi}")
    if container.by_flag and has_plugin:
        words.append(f"--container-image={container.image or 'none'}")
    return [*words, *line.srun_words(), *_command(line)]


def salloc_command(line: CommandLine, itself: Sequence[str]) -> list[str]:
    """Return the command line that gets an allocation and launches over ssh in it.

    `itself` is the command line of hpcbox.
    """
    inner = [*itself, "srun", "--launcher=ssh", *line.inner_words(), "--", *line.command]
    return ["salloc", *line.salloc_words(), *inner]


def launch_plan(
    line: CommandLine,
    container: AskedContainer,
    choice: Choice,
    *,
    job: Allocation | None,
    shape: Shape,
    step: str,
    environ: Mapping[str, str],
    cwd: str,
    user: str,
) -> LaunchPlan:
    """Return the plan for hpcbox's own launch; `job` is None on a machine without Slurm.

    Raises:
        RequestError: a value is wrong.
        LaunchRefused: a value is one that only srun knows.
    """
    limit = line.value("time")
    return LaunchPlan(
        job=job.job if job else "local",
        step=step,
        nodes=shape.nodes,
        tasks=shape.tasks,
        command=line.command,
        environment=exported(line.value("export"), environ),
        cwd=cwd,
        cluster=job.cluster if job else "",
        user=user,
        tasks_per_node=shape.tasks_per_node,
        cpus_per_task=shape.cpus_per_task,
        image=container.image or None,
        digest=container.digest,
        container=container.options,
        mpi=choice.mpi,
        transport=choice.launcher,
        label=line.has("label"),
        output=_stream(line, "output", choice.launcher),
        error=_stream(line, "error", choice.launcher),
        input=_reader(line),
        time_limit_seconds=None if limit is None else allocation.seconds(limit),
    )


def input_file(line: CommandLine) -> str | None:
    """Return the file of --input, None when its value is a mode."""
    value = line.value("input")
    return None if value is None or value in ("all", "none") or value.isdigit() else value


def _reader(line: CommandLine) -> str:
    value = line.value("input")
    # A file is put in the place of this process's stdin, and MPI programs read it in rank 0.
    return "0" if value is None or input_file(line) is not None else value


def _stream(line: CommandLine, name: str, launcher: str) -> str | None:
    value = line.value(name)
    if value is None or value == "all":
        return None
    if value.isdigit():
        raise LaunchRefused(
            f"--launcher={launcher} has no --{name}={shorten(value, 20)}: one rank's output alone",
            hint="use --launcher=srun, or 'hpcbox logs'",
        )
    return value


def _command(line: CommandLine) -> list[str]:
    starts_like_option = line.command[0].startswith("-")
    return ["--", *line.command] if starts_like_option else list(line.command)

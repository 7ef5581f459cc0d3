"""Which variables a container's tasks get: the design's table, pure.

Later wins: the image's ENV, the job's environment except for names that the image sets, the names
of --container-env, then what Slurm, PMI and hpcbox set. The plugin starts from the job's
environment, so that all there is to do is to set the image's variables that nothing above hides.
Loaded on every node and step.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What belongs to Slurm, to a process manager or to hpcbox is never the image's to set.
_RESERVED_PREFIXES = ("SLURM", "SPANK_", "PMI_", "PMI2_", "PMIX_", "HPCBOX_", "SRUN_", "SBATCH_")


def image_variables(image_env: tuple[str, ...], host_names: tuple[str, ...]) -> list[str]:
    """Return the `NAME=VALUE` entries of an image to set for its tasks.

    Args:
        image_env: the image config's Env, `NAME=VALUE` each.
        host_names: names whose value on the host wins (--container-env).
    """
    chosen: dict[str, str] = {}
    for entry in image_env:
        name, equals, value = entry.partition("=")
        if not equals or not name or "\0" in entry:
            continue
        if name in host_names or name.startswith(_RESERVED_PREFIXES):
            continue
        chosen[name] = value
    return [f"{name}={value}" for name, value in chosen.items()]


def task_variables(
    host: "Mapping[str, str]", image_part: "Iterable[tuple[str, str]]", image: str, digest: str
) -> dict[str, str]:
    """Return all variables of a task, where nobody has a job's environment prepared already.

    Args:
        host: the environment of the one who starts it.
        image_part: names and values of `image_variables`.
        image: the reference as typed.
        digest: `sha256:HEX` of the image.
    """
    return {**host, **dict(image_part), "HPCBOX_IMAGE": image, "HPCBOX_IMAGE_DIGEST": digest}

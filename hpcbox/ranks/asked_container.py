"""Which container the ranks of `hpcbox srun` are to have: flags, job and environment; pure.

The same order as the plugin's (spank/request.c): a flag of this command line, what the job was
submitted with, and only then defaults in the environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hpcbox.ranks.plan import ContainerOptions
from hpcbox.ranks.srun_options import CommandLine
from hpcbox.request import options

_NO_IMAGE = "none"
# What the plugin keeps for a job's steps.
_JOBS = {
    f"SLURM_HPCBOX_{name}": f"HPCBOX_CONTAINER_{name}" for name in ("MOUNTS", "WORKDIR", "ENV")
}


@dataclass(frozen=True, slots=True)
class AskedContainer:
    """A container that was asked for.

    Attributes:
        image: reference as typed, "" for ranks on the host.
        digest: `sha256:HEX` of its manifest where the job has one, else "".
        options: the other container options.
        by_flag: the image, or "none", stands on the command line.
    """

    image: str
    digest: str
    options: ContainerOptions
    by_flag: bool


def asked_container(line: CommandLine, environ: Mapping[str, str]) -> AskedContainer:
    """Return what was asked for.

    Raises:
        RequestError: options contradict each other, or this version doesn't act on one.
    """
    defaults = dict(environ)
    for theirs, ours in _JOBS.items():
        if environ.get(theirs):
            defaults[ours] = environ[theirs]
    values = options.values(line.container_flags(), defaults)
    # "REFERENCE DIGEST", where the digest may be "-".
    decided, _, digest = environ.get("SLURM_HPCBOX_IMAGE", "").rpartition(" ")
    inherited = decided or environ.get("SLURM_CONTAINER") or values["container-image"]
    image = line.image(inherited)
    return AskedContainer(
        image="" if image == _NO_IMAGE else image,
        digest=digest if image == decided and digest.startswith("sha256:") else "",
        options=ContainerOptions(
            mounts=values["container-mounts"],
            workdir=values["container-workdir"],
            env=values["container-env"],
        ),
        by_flag=line.has("container") or line.has("container-image"),
    )

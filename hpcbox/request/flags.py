"""The --container-* options: one table, with which the plugin and the documents are compared.

`--container` itself belongs to Slurm (sbatch(1), since 21.08) and is only read. Names are those
that users know from pyxis; each has a default in HPCBOX_NAME and, for scripts from elsewhere,
PYXIS_NAME.
"""

from typing import NamedTuple


class Flag(NamedTuple):
    """One option.

    Attributes:
        name: without the leading dashes.
        argument: what stands for its value in the help, or "" for a switch.
        help: one line.
        built: whether this version acts on it; the others are refused by name.
    """

    name: str
    argument: str
    help: str
    built: bool = True


FLAGS = (
    Flag("container-image", "REF", "run the job's tasks, the batch script too, in this image"),
    Flag("container-mounts", "SRC:DST[:FLAGS],...", "mount folders of the node in the container"),
    Flag("container-workdir", "DIR", "working directory in the container"),
    Flag("container-env", "NAME,...", "variables whose value on the host wins over the image's"),
    Flag("container-output", "spool|pass", "keep what each rank prints in files (spool) or don't"),
    Flag("container-name", "NAME", "keep the container under a name", built=False),
    Flag("container-save", "FILE", "save the container as a squashfs file", built=False),
    Flag("container-mount-home", "", "mount the home directory", built=False),
    Flag("no-container-mount-home", "", "don't mount the home directory"),
    Flag("container-remap-root", "", "be root inside", built=False),
    Flag("no-container-remap-root", "", "be yourself inside"),
    Flag("container-entrypoint", "", "run the image's entrypoint", built=False),
    Flag("no-container-entrypoint", "", "don't run the image's entrypoint"),
    Flag("container-entrypoint-log", "", "print the entrypoint's output", built=False),
    Flag("container-writable", "", "make the root writable"),
    Flag("container-readonly", "", "make the root read-only", built=False),
    Flag("container-unshare", "NAMESPACE,...", "unshare more namespaces", built=False),
)


def variable(flag: Flag) -> str:
    """Return the name of the environment variable that holds a flag's default."""
    return "HPCBOX_" + flag.name.upper().replace("-", "_")

"""Where a step's output goes: choosing the folder, claiming it, and saying what the step is.

Runs as the job's user, on the node. Whoever else can write the working directory must not lead the
output elsewhere: a folder is taken only if it is the user's own and no symlink.
Loaded on nodes: standard library only, no json, typing or enum.
"""

import os
import stat
from _json import encode_basestring_ascii as quoted

from hpcbox.errors import RankError
from hpcbox.ranks import layout

# Steps of one job and step id in one folder; more than that is no requeue but a mistake.
_MAX_ATTEMPTS = 1000
_MAX_LINKS = 1000

TYPE_CHECKING = False
if TYPE_CHECKING:
    StepValue = str | int | float | list[str]


def open_folder(directory: str, job: str, step: str, run: str) -> str:
    """Return the path of the step's folder, made below `directory` or in the node-local fallback.

    Args:
        directory: the step's working directory on this node.
        job: its id as Slurm prints it.
        step: its id.
        run: text that all nodes of this run of the step have, and no other run of it.

    Raises:
        RankError: neither place takes a folder.
    """
    try:
        return _claimed(directory, job, step, run)
    except OSError as error:
        reason = error
    try:
        return _claimed(_fallback(os.geteuid()), job, step, run)
    except OSError as error:
        raise RankError(
            f"cannot keep the output of step {job}.{step}: {directory}: {reason.strerror}, "
            f"{layout.fallback_folder(os.geteuid())}: {error.strerror}"
        ) from error


def _claimed(directory: str, job: str, step: str, run: str) -> str:
    for attempt in range(1, _MAX_ATTEMPTS):
        folder = f"{directory}/{layout.folder_name(job, step, attempt)}"
        _make(folder, 0o777)
        if _is_own(folder) and _claim(folder, run):
            return folder
    raise FileExistsError(17, "all names are taken")


def _claim(folder: str, run: str) -> bool:
    """Whether the folder belongs to this run, now or from an earlier claim."""
    link = f"{folder}/{layout.RUN_LINK}"
    try:
        os.symlink(run, link)
    except FileExistsError:
        return os.readlink(link) == run
    return True


def _make(folder: str, mode: int) -> None:
    if not os.path.lexists(folder):
        try:
            os.mkdir(folder, mode)
        except FileExistsError:
            return  # another node was faster


def _is_own(folder: str) -> bool:
    status = os.lstat(folder)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _fallback(uid: int) -> str:
    return _private(f"{private_folder(uid)}/{os.path.basename(layout.fallback_folder(uid))}")


def private_folder(uid: int) -> str:
    """Return the user's own folder below /tmp, made if it is missing.

    Raises:
        PermissionError: something there is not the user's alone.
    """
    return _private(os.path.dirname(layout.fallback_folder(uid)))


def _private(path: str) -> str:
    _make(path, 0o700)
    # /tmp is everybody's: somebody else may have been first.
    if not _is_own(path) or stat.S_IMODE(os.lstat(path).st_mode) & 0o077:
        raise PermissionError(1, f"{path} is not the user's alone")
    return path


def write_step(folder: str, fields: "dict[str, StepValue]") -> None:
    """Write step.json, whole or not at all; `fields` are layout's.

    Raises:
        OSError: the file can't be written.
    """
    text = _object({"version": layout.VERSION, **fields})
    path = f"{folder}/{layout.STEP_FILE}"
    temporary = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    file = os.open(temporary, flags, 0o666)
    try:
        os.write(file, text.encode("ascii"))
    finally:
        os.close(file)
    os.rename(temporary, path)


def _object(fields: "dict[str, StepValue]") -> str:
    parts = []
    for name, value in fields.items():
        if isinstance(value, list):
            text = "[" + ",".join(quoted(word) for word in value) + "]"
        else:
            text = quoted(value) if isinstance(value, str) else repr(value)
        parts.append(f"{quoted(name)}:{text}")
    return "{" + ",".join(parts) + "}\n"


def register(home: str, cluster: str, job: str, step: str, folder: str) -> None:
    """Set the link by which readers find the folder, and drop the oldest beyond a thousand.

    Raises:
        OSError: the home directory doesn't take it; the output is kept all the same.
    """
    link = layout.registry_link(home, cluster, job, step)
    links = os.path.dirname(link)
    os.makedirs(links, 0o700, exist_ok=True)
    temporary = f"{links}/.{os.getpid()}-{os.path.basename(link)}"
    os.symlink(folder, temporary)
    os.rename(temporary, link)
    names = os.listdir(links)
    # Sorting is for one start in many, so that the others don't pay for it.
    if len(names) > _MAX_LINKS + _MAX_LINKS // 8:
        names.sort(key=_age)
        for name in names[:-_MAX_LINKS]:
            os.unlink(f"{links}/{name}")


def _age(name: str) -> tuple[int, int]:
    """Job ids grow; names that aren't links of ours count as the oldest."""
    job, _, step = name.partition(".")
    digits = job.isascii() and job.isdigit()
    return (int(job) if digits else -1, int(step) if step.isascii() and step.isdigit() else -1)

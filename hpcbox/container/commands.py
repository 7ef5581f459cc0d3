"""Which file a command name means inside a container, and why it can't be executed.

The same answers as those of the plugin (spank/enter.c, spank/node_step.c) in site mode. Run inside
the container's root.
"""

import os
import stat

from hpcbox.errors import one_line

COULD_NOT_START, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


class Problem:
    """Why a command can't run: the exit code for it, and one line."""

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = one_line(text)


def find(command: str, path: str) -> str:
    """Return the first file of that name in PATH that is no folder, else the name itself."""
    if not command.startswith(("/", ".")):
        for folder in path.split(":"):
            file = f"{folder}/{command}"
            if folder and _is_file(file):
                return file
    return command


def problem(command: str, path: str, image: str) -> Problem | None:
    """Say why a command can't be executed in an image, or None when it looks executable."""
    file = find(command, path)
    if not command or not os.path.exists(file):
        where = "" if "/" in command else f" (PATH={path})"
        return Problem(NOT_FOUND, f"{command}: not found in image {image}{where}")
    if not _is_file(file) or not os.access(file, os.X_OK):
        return Problem(NOT_EXECUTABLE, f"{command}: not executable in image {image}")
    return None


def refused(command: str, image: str, error: OSError) -> Problem:
    """Say why the kernel didn't execute a command that looked executable."""
    reason = error.strerror
    if isinstance(error, FileNotFoundError):
        reason = "its interpreter (#! line) or loader is missing there"
    return Problem(NOT_EXECUTABLE, f"{command}: not executable in image {image}: {reason}")


def _is_file(path: str) -> bool:
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False

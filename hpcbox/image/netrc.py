"""A file of names and passwords in the form of netrc(5), for registries and proxies.

    machine registry.site:5000 login alice password "her secret"

Only `machine`, `login` and `password` are known. An entry `default`, which would send a password
to whoever asks, is passed over. Whoever else can read the file makes it useless: it is refused.
"""

import os
import re
import stat

from hpcbox.errors import RegistryRefused

_MAXIMUM_BYTES = 2**20
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_MACROS = re.compile(r"(?m)^[ \t]*macdef\b.*(?:\n[^\n]+)*")
_COMMENT = re.compile(r"(?m)^[ \t]*#.*$")


def find(path: str, machine: str) -> tuple[str, str] | None:
    """Return name and password of a machine (HOST or HOST:PORT, exactly), or None.

    Raises:
        RegistryRefused: the file can't be read, or other accounts may read it.
    """
    path = os.path.expanduser(path)
    try:
        with open(path, "rb") as file:
            _check(os.fstat(file.fileno()), path)
            text = file.read(_MAXIMUM_BYTES).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryRefused(f"cannot read the credentials in {path}: {error.strerror}") from error
    return parse(text).get(machine.lower())


def parse(text: str) -> dict[str, tuple[str, str]]:
    """Return machine → (name, password); of several entries for a machine the first."""
    words = [
        re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2]
        for match in _WORD.finditer(_COMMENT.sub("", _MACROS.sub("", text)))
    ]
    found: dict[str, tuple[str, str]] = {}
    machine: str | None = None
    entry: dict[str, str] = {}
    position = 0
    while position < len(words):
        word, value = words[position], "".join(words[position + 1 : position + 2])
        position += 2
        if word == "machine":
            machine, entry = value.lower(), {}
        elif word == "default":
            machine, entry = None, {}
            position -= 1
        else:
            entry[word] = value
        if machine is not None and {"login", "password"} <= entry.keys():
            found.setdefault(machine, (entry["login"], entry["password"]))
    return found


def _check(status: os.stat_result, path: str) -> None:
    if status.st_uid != os.geteuid():
        raise RegistryRefused(f"the credentials in {path} are not used: another account owns it")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise RegistryRefused(
            f"the credentials in {path} are not used: other accounts may read it",
            hint=f"run 'chmod 600 {path}', and change the passwords in it",
        )

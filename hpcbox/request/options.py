"""What a command line and its environment say of the --container-* options (flags.py).

A flag wins over HPCBOX_CONTAINER_*, which wins over PYXIS_CONTAINER_*. The same rules as the
plugin's (spank/options.c), for the verbs that take these options themselves. Pure.
"""

from collections.abc import Mapping

from hpcbox.errors import RequestError
from hpcbox.request.flags import FLAGS, Flag, variable

_MAX_BYTES = 32 * 1024
_SWITCH = {
    **dict.fromkeys(("1", "yes", "true", "on"), True),
    **dict.fromkeys(("0", "no", "false", "off"), False),
}
_NEGATIVE = {"container-writable": "container-readonly"}
_BY_NAME = {flag.name: flag for flag in FLAGS}


def values(given: Mapping[str, str | bool], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the value of each option that has an argument, "" for one that isn't set.

    Args:
        given: flag name → value on the command line, True for a switch; absent ones are missing.
        environ: the environment that holds the defaults.

    Raises:
        RequestError: a value can't be used, or this version doesn't act on the option.
    """
    found: dict[str, str] = {}
    for flag in FLAGS:
        source, value = _source(flag, given, environ)
        if flag.argument:
            found[flag.name] = value
        if not value:
            continue
        _check_value(source, value)
        if not _effective(flag, source, value).built:
            raise RequestError(
                f"{source} is not supported by this version of hpcbox", hint="leave it out"
            )
    return found


def _source(
    flag: Flag, given: Mapping[str, str | bool], environ: Mapping[str, str]
) -> tuple[str, str]:
    """Return where an option's value stands, and the value."""
    chosen = given.get(flag.name)
    if chosen is not None and chosen is not False:
        text = "1" if chosen is True else chosen
        if not text:
            raise RequestError(f"--{flag.name} is empty", hint="give a value or leave it out")
        return f"--{flag.name}", text
    own = variable(flag)
    # A switch has one variable: that of its positive form.
    if not flag.argument and (flag.name.startswith("no-") or flag.name in _NEGATIVE.values()):
        return own, ""
    if not flag.argument and given.get(_negative(flag)):
        return own, ""
    for name in (own, own.replace("HPCBOX_", "PYXIS_", 1)):
        if environ.get(name):
            return name, environ[name]
    return own, ""


def _negative(flag: Flag) -> str:
    return _NEGATIVE.get(flag.name, f"no-{flag.name}")


def _effective(flag: Flag, source: str, value: str) -> Flag:
    """Return the flag that a value stands for: a switch that is off means its negative form."""
    if flag.argument:
        return flag
    switched = _SWITCH.get(value.lower())
    if switched is None:
        raise RequestError(f"{source} is neither yes nor no", hint="use 1 or 0")
    return flag if switched else _BY_NAME.get(_negative(flag), flag)


def _check_value(source: str, value: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise RequestError(f"{source} is not valid UTF-8", hint="check its spelling") from None
    if size > _MAX_BYTES:
        raise RequestError(f"{source} is longer than 32 KiB", hint="shorten it")
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in value):
        raise RequestError(
            f"{source} contains a newline or another control character",
            hint="write it on one line",
        )

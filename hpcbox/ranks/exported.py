"""The variables that `--export` gives to the ranks, as srun(1) has it; pure."""

from collections.abc import Mapping

from hpcbox.errors import RequestError, shorten


def exported(choice: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the ranks that --export stands for; see srun(1).

    Slurm's own variables always come along. A NAME=VALUE may hold commas in quotes.

    Raises:
        RequestError: an entry is no variable.
    """
    if choice is None or choice == "ALL":
        return dict(environ)
    chosen = {name: value for name, value in environ.items() if name.startswith("SLURM_")}
    if choice in ("NONE", "NIL"):
        return chosen
    for entry in _entries(choice):
        name, equals, value = entry.partition("=")
        if entry == "ALL":
            chosen |= environ
        elif not name or "\0" in entry:
            raise RequestError(f"--export has '{shorten(entry)}', which is no variable")
        elif equals:
            chosen[name] = value
        elif name in environ:
            chosen[name] = environ[name]
    return chosen


def _entries(text: str) -> list[str]:
    """Split at commas outside of quotes, and take the quotes off."""
    entries, entry, quote = [], "", ""
    for character in text:
        if quote:
            entry, quote = (entry, "") if character == quote else (entry + character, quote)
        elif character in "'\"":
            quote = character
        elif character == ",":
            entries.append(entry)
            entry = ""
        else:
            entry += character
    return [one for one in [*entries, entry] if one]

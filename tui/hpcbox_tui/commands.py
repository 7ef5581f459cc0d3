"""What can be typed after `:`, and its completion. Pure."""

from dataclasses import dataclass

COMMANDS = {
    "all": "everybody's jobs",
    "filter": "WORDS: keep the jobs with these (as / does)",
    "help": "the keys of this screen",
    "job": "ID: one job",
    "jobs": "the queue",
    "log": "[PATH]: the job's output, or any file",
    "me": "only my jobs",
    "q": "leave hpcbox",
    "rank": "N: what one rank prints",
    "ranks": "[ID]: what the ranks of a job print",
    "refresh": "ask Slurm now",
    "sort": "COLUMN: sort the queue",
}
_OTHER_NAMES = {"quit": "q", "queue": "jobs", "?": "help", "h": "help"}


@dataclass(frozen=True, slots=True)
class Command:
    """A command line that was understood.

    Attributes:
        name: one of COMMANDS.
        argument: what follows, "" for nothing.
    """

    name: str
    argument: str


def parse(line: str) -> Command | str:
    """Return the command, or one line saying what is wrong."""
    name, _, argument = line.strip().partition(" ")
    name, argument = _OTHER_NAMES.get(name, name), argument.strip()
    if name not in COMMANDS:
        found = [known for known in COMMANDS if known.startswith(name)] if name else []
        if len(found) != 1:
            return f"there is no command '{name}' — Tab shows all"
        name = found[0]
    if name in ("job", "rank") and not argument:
        return f":{name} needs {COMMANDS[name].partition(':')[0]}"
    if name == "rank" and not (argument.isascii() and argument.isdigit()):
        return f"'{argument}' is no rank — a number is wanted"
    return Command(name, argument)


def complete(line: str, arguments: dict[str, list[str]]) -> list[str]:
    """Return the lines that a half typed one may become.

    Args:
        line: what has been typed.
        arguments: command → what its argument may be, from what is on the screen.
    """
    name, blank, begun = line.partition(" ")
    if not blank:
        return [known for known in COMMANDS if known.startswith(name)]
    known = _OTHER_NAMES.get(name, name)
    return [
        f"{name} {argument}" for argument in arguments.get(known, []) if argument.startswith(begun)
    ]

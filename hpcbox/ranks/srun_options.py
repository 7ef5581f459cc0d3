"""The command line of `hpcbox srun`, read as srun reads its own; pure.

srun's rules (getopt_long(3) with `+`): options end at the first word that is none, the command;
long names may be shortened while they stay unique; letters may stand together (-ln4). Beside srun's
options there are the container options, `--container`, and hpcbox's own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpcbox.errors import LaunchRefused, RequestError, shorten
from hpcbox.ranks.srun_table import OPTIONS, Argument, Option, Without
from hpcbox.request.flags import FLAGS

LAUNCHERS = ("auto", "srun", "ssh", "local")

_CONTAINER = "container"
_OWN = (
    Option("launcher", "", Argument.NEEDED, Without.ACTS, salloc=False),
    Option("explain", "", Argument.NONE, Without.ACTS, salloc=False),
    Option("json", "", Argument.NONE, Without.ACTS, salloc=False),
    Option("help", "h", Argument.NONE, Without.ACTS, salloc=False),
)
_CONTAINER_OPTIONS = (
    Option(_CONTAINER, "", Argument.NEEDED, Without.ACTS, salloc=False),
    *(
        Option(
            flag.name,
            "",
            Argument.NEEDED if flag.argument else Argument.NONE,
            Without.ACTS,
            salloc=False,
        )
        for flag in FLAGS
    ),
)
_ALL = (*_OWN, *_CONTAINER_OPTIONS, *OPTIONS)
_LONG = {option.name: option for option in _ALL}
_SHORT = {option.short: option for option in _ALL if option.short}
_OWN_NAMES = frozenset(option.name for option in _OWN)
_CONTAINER_NAMES = frozenset(option.name for option in _CONTAINER_OPTIONS)


@dataclass(frozen=True, slots=True)
class Given:
    """One option as it was given.

    Attributes:
        option: its row in the table.
        value: its value, None for none.
        written: how the user wrote it, for messages: "--cpu-bind", "-m".
    """

    option: Option
    value: str | None
    written: str

    @property
    def words(self) -> tuple[str, ...]:
        """The option in its long form, as any of Slurm's commands takes it."""
        name = f"--{self.option.name}"
        return (name if self.value is None else f"{name}={self.value}",)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What was asked for.

    Attributes:
        given: options in their order.
        command: program and arguments.
    """

    given: tuple[Given, ...]
    command: tuple[str, ...]

    def value(self, name: str) -> str | None:
        """Return the value of an option, "" for a switch, None when it wasn't given; last wins."""
        for one in reversed(self.given):
            if one.option.name == name:
                return one.value or ""
        return None

    def has(self, name: str) -> bool:
        """Whether an option was given."""
        return self.value(name) is not None

    def container_flags(self) -> dict[str, str | bool]:
        """Return the --container-* options as request/options.py takes them."""
        names = {flag.name for flag in FLAGS}
        return {
            one.option.name: True if one.value is None else one.value
            for one in self.given
            if one.option.name in names
        }

    def image(self, default: str) -> str:
        """Return the image of --container or --container-image, else `default`; "none" is none.

        Raises:
            RequestError: the two name different images.
        """
        values = [self.value(name) for name in (_CONTAINER, "container-image")]
        named = [value for value in values if value is not None]
        if len(set(named)) > 1:
            raise RequestError(
                f"--container={shorten(named[0])} and --container-image={shorten(named[1])} name "
                "different images",
                hint="give one of them",
            )
        if named and not named[0]:
            raise RequestError("the image's name is empty", hint="give a reference, or none")
        return named[0] if named else default

    def srun_words(self) -> list[str]:
        """Return the options for srun, without the image and the kind of MPI."""
        left_out = _OWN_NAMES | {"mpi", _CONTAINER, "container-image"}
        return [word for one in self.given if one.option.name not in left_out for word in one.words]

    def salloc_words(self) -> list[str]:
        """Return the options that choose an allocation."""
        return [word for one in self.given if one.option.salloc for word in one.words]

    def inner_words(self) -> list[str]:
        """Return the options for the `hpcbox srun` that salloc is to start."""
        return [
            word
            for one in self.given
            if one.option.without is Without.ACTS and one.option.name not in _OWN_NAMES
            for word in one.words
        ]


def parse(words: Sequence[str]) -> CommandLine:
    """Read a command line without its `hpcbox srun`.

    Raises:
        RequestError: an option is unknown, ambiguous, or has a value that is missing or too many.
    """
    given: list[Given] = []
    left = list(words[::-1])
    while left:
        word = left[-1]
        if word == "--":
            left.pop()
            break
        if not word.startswith("-") or word == "-":
            break
        left.pop()
        if word.startswith("--"):
            given.append(_long(word, left))
        else:
            given += _letters(word, left)
    return CommandLine(tuple(given), tuple(left[::-1]))


def refuse_without_srun(line: CommandLine, launcher: str, *, inside: bool) -> None:
    """Complain about what only srun can do.

    `inside` says that there is an allocation already (or none is needed), so that options which
    limit a step would be lost.

    Raises:
        LaunchRefused: naming the first such option.
    """
    for one in line.given:
        without = one.option.without
        if without is Without.REFUSED or (without is Without.LIMITS and inside):
            raise _has_no(launcher, one.written)
        if one.option.name == "kill-on-bad-exit" and one.value == "0":
            raise _has_no(launcher, f"{one.written}=0", "the first rank that fails ends all")
    if ":" in line.command:
        raise _has_no(launcher, "' : '", "steps of several components are srun's")


def _has_no(launcher: str, what: str, why: str = "") -> LaunchRefused:
    reason = f": {why}" if why else ""
    hint = "use --launcher=srun" if launcher == "ssh" else "leave it out"
    return LaunchRefused(f"--launcher={launcher} has no {what}{reason}", hint=hint)


def _long(word: str, left: list[str]) -> Given:
    name, equals, value = word[2:].partition("=")
    option = _LONG.get(name) or _shortened(name)
    written = f"--{option.name}"
    if equals:
        if option.argument is Argument.NONE:
            raise RequestError(f"{written} takes no value", hint="see 'hpcbox srun --help'")
        return Given(option, value, written)
    if option.argument is Argument.NEEDED:
        return Given(option, _next(left, written), written)
    return Given(option, None, written)


def _shortened(name: str) -> Option:
    found = [option for option in _ALL if name and option.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"--{option.name}" for option in found[:6])
        raise RequestError(f"--{shorten(name, 60)} may mean {names}", hint="write it out")
    raise RequestError(
        f"neither hpcbox nor srun (as hpcbox knows it) has an option --{shorten(name, 60)}",
        hint="write srun itself for what hpcbox doesn't know",
    )


def _letters(word: str, left: list[str]) -> Iterable[Given]:
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        option = _SHORT.get(letter)
        written = f"-{letter}"
        if option is None:
            raise RequestError(f"srun has no option {shorten(written, 20)}", hint="see --help")
        if option.argument is Argument.NONE:
            yield Given(option, None, written)
            continue
        value = rest or None
        if value is None and option.argument is Argument.NEEDED:
            value = _next(left, written)
        yield Given(option, value, written)
        return


def _next(left: list[str], written: str) -> str:
    if not left:
        raise RequestError(f"{written} wants a value", hint="see 'hpcbox srun --help'")
    return left.pop()

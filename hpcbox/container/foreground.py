"""One command in a user container, in front of whoever started hpcbox: a person or a script.

The command has the caller's stdin, stdout, stderr and terminal themselves, nothing stands in
between. With a terminal it stays in the caller's process group: Ctrl-C, Ctrl-Z and a pager behind a
pipe do what they do with any command. Without one it gets a group of its own, which then gets the
signals that this process gets.
"""

import os
import select

from hpcbox import kernel
from hpcbox.container.user_mode import Exited, NotStarted, UserContainer
from hpcbox.errors import NodeSetupFailed

_FORWARDED = (
    kernel.SIGHUP,
    kernel.SIGINT,
    kernel.SIGQUIT,
    kernel.SIGUSR1,
    kernel.SIGUSR2,
    kernel.SIGTERM,
)
_KEY = 0


def take_signals() -> int:
    """Keep the signals that are for the command; return the descriptor that `run` reads them from.

    To be called before the container is started: none is lost meanwhile.
    """
    # SIGTTOU comes for taking the terminal back, if it isn't blocked.
    return kernel.signal_descriptor(*_FORWARDED, kernel.SIGTTOU)


def run(
    container: UserContainer, argv: list[str], variables: dict[str, str], signals: int
) -> Exited | NotStarted:
    """Run a command to its end in the container's working directory.

    Args:
        container: where.
        argv: its words.
        variables: all of its environment.
        signals: descriptor of `take_signals`.

    Raises:
        NodeSetupFailed: the container ended before the command.
    """
    terminal = _terminal()
    in_front = terminal is not None and os.tcgetpgrp(terminal) == os.getpgrp()
    container.spawn(_KEY, argv, variables, container.workdir, (0, 1, 2), own_group=terminal is None)
    try:
        return _wait(container, signals, in_terminal=terminal is not None)
    finally:
        if terminal is not None:
            # A shell takes the terminal for its own jobs, and its container can't give it back.
            if in_front:
                os.tcsetpgrp(terminal, os.getpgrp())
            os.close(terminal)


def _terminal() -> int | None:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


def _wait(container: UserContainer, signals: int, *, in_terminal: bool) -> Exited | NotStarted:
    poll = select.poll()
    poll.register(container.fileno(), select.POLLIN)
    poll.register(signals, select.POLLIN)
    started = False
    while True:
        ready = {descriptor for descriptor, _events in poll.poll()}
        if signals in ready:
            number, code = kernel.read_signal(signals)
            # What a terminal's key sends has reached a running command too.
            by_terminal = in_terminal and code == kernel.SI_KERNEL
            if number in _FORWARDED and not (by_terminal and started):
                container.signal(_KEY, number)
        if container.fileno() in ready:
            event = container.receive()
            started = True
            if event is None:
                raise NodeSetupFailed("the container was ended from outside")
            if isinstance(event, Exited | NotStarted):
                return event

"""The C half of Python's signal module: its Python half loads enum, which a node can't afford."""

import _signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGHUP: int = _signal.SIGHUP
SIGINT: int = _signal.SIGINT
SIGKILL: int = _signal.SIGKILL
SIGTERM: int = _signal.SIGTERM
SIGCHLD: int = _signal.SIGCHLD
SIGPIPE: int = _signal.SIGPIPE
SIGXFSZ: int = _signal.SIGXFSZ


def handle(number: int, handler: "Callable[[int, object], None]") -> None:
    """Call `handler(number, frame)` when the signal comes."""
    _signal.signal(number, handler)


def ignore(number: int) -> None:
    """Ignore a signal."""
    _signal.signal(number, _signal.SIG_IGN)


def block_all() -> None:
    """Let no signal through to this thread, but for those that nothing can block."""
    # The C library keeps two numbers to itself (signal(7)).
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (*range(1, 32), *range(34, _signal.NSIG)))


def as_by_default(number: int) -> None:
    """Give a signal its default again."""
    _signal.signal(number, _signal.SIG_DFL)


def wake_by(descriptor: int) -> None:
    """Write a byte to a non-blocking descriptor whenever a signal comes; -1: no longer."""
    _signal.set_wakeup_fd(descriptor)

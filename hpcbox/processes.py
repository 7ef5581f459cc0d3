"""The only place where commands of this machine are started and waited for.

A command gets no input but what it is given, a session of its own, a time limit and a limit for
what it may print.
"""

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

CHUNK = 2**18
# Of stderr only the beginning is kept: what went wrong first.
ERRORS_LIMIT = 2**16


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code, or minus the number of the signal that ended it.
        output: what it wrote to stdout; b"" when a consumer took it.
        errors: what it wrote to stderr, at most 64 KiB.
    """

    code: int
    output: bytes
    errors: bytes


def run(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    limit_bytes: int = 2**26,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
    consume: Callable[[bytes], None] | None = None,
) -> Ended:
    """Run a command to its end; it and all it started are killed when that fails.

    Args:
        argv: program, looked up in PATH, and arguments.
        timeout_seconds: for the whole run.
        limit_bytes: how much it may write to stdout.
        environment: all its variables; inherited by default.
        given: what it reads from stdin.
        consume: called with stdout's bytes as they come, in place of collecting them.

    Raises:
        TimeoutError: it took too long.
        OSError: it can't be started, or wrote too much (EFBIG).
    """
    deadline = time.monotonic() + timeout_seconds
    with (
        _input(given) as stdin,
        subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        output, errors = bytearray(), bytearray()
        try:
            _collect(process, consume or output.extend, errors, limit_bytes, deadline)
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise _too_slow(timeout_seconds) from None
        finally:
            if process.returncode is None:
                # Not yet waited for, so the group is still its own.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return Ended(code, bytes(output), bytes(errors))


@contextlib.contextmanager
def _input(given: bytes) -> Iterator[int]:
    """Give a descriptor to read the bytes from: no pipe, which somebody would have to fill."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, given)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _collect(
    process: "subprocess.Popen[bytes]",
    consume: Callable[[bytes], object],
    errors: bytearray,
    limit_bytes: int,
    deadline: float,
) -> None:
    assert process.stdout is not None  # noqa: S101 - both are pipes, which mypy can't know
    assert process.stderr is not None  # noqa: S101
    taken = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in ready:
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    errors += chunk[: ERRORS_LIMIT - len(errors)]
                else:
                    taken += len(chunk)
                    if taken > limit_bytes:
                        raise OSError(errno.EFBIG, f"it wrote more than {limit_bytes} bytes")
                    consume(chunk)


def _too_slow(timeout_seconds: float) -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, f"no answer within {timeout_seconds:g} s")


class Reading:
    """A command whose output is read while it runs; it and all it started end with `close`."""

    def __init__(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it; `environment` are all its variables, inherited by default.

        Raises:
            OSError: it can't be started.
        """
        self._errors = bytearray()
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - both are pipes
        assert self._process.stderr is not None  # noqa: S101
        self._output = self._process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._selector.register(self._process.stderr, selectors.EVENT_READ)

    def read(self, size: int, *, timeout_seconds: float) -> bytes:
        """Return at most `size` bytes of its output, none at the end.

        Raises:
            TimeoutError: nothing came for so long.
        """
        while self._selector.get_map():
            ready = self._selector.select(timeout_seconds)
            if not ready:
                raise _too_slow(timeout_seconds)
            for key, _ in ready:
                is_output = key.fd == self._output
                chunk = os.read(key.fd, size if is_output else CHUNK)
                if chunk and is_output:
                    return chunk
                if not chunk:
                    self._selector.unregister(key.fileobj)
                self._errors += chunk[: ERRORS_LIMIT - len(self._errors)]
        return b""

    def end(self, *, timeout_seconds: float) -> Ended:
        """Wait for its end after its output has ended.

        Raises:
            TimeoutError: it took too long.
        """
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise _too_slow(timeout_seconds) from None
        return Ended(code, b"", bytes(self._errors))

    def close(self) -> None:
        """End it if it still runs."""
        if self._process.returncode is None:
            # Not yet waited for, so the group is still its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

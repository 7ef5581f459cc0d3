"""Bringing an image into the store for a verb: the pull with its progress on stderr."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

from hpcbox.errors import ImageNotFound
from hpcbox.image.digest import Digest
from hpcbox.image.local_path import parse_typed, path_in_mind
from hpcbox.image.noting import Noting
from hpcbox.image.progress import PhaseLines, Progress, Report, as_json
from hpcbox.image.reference import LocalReference, Reference
from hpcbox.settings import Settings
from hpcbox.store import failures, paths, records
from hpcbox.store.images import ImageRecord

if TYPE_CHECKING:
    from hpcbox.rootfs.extract import Extracted
    from hpcbox.store.pull import Limits
    from hpcbox.store.sink import LayerSink

IMAGE_HELP = """[REGISTRY/]NAME[:TAG][@DIGEST], oci:DIR[:REF], oci-archive:FILE[:REF],
docker-archive:FILE[:REF], dir:DIR, or a .sqsh, .squashfs or .erofs file"""

# When `ensured` asks the registry.
ALWAYS, MISSING, NEVER = "always", "missing", "never"
_SPARE_COLUMNS = 3


def ensured(image: str, settings: Settings, policy: str) -> ImageRecord:
    """Return the record of an image that is complete in the store, pulling it if need be.

    Args:
        image: a reference, or with NEVER and MISSING also the digest of a stored image.
        settings: the store, and how registries are reached.
        policy: ALWAYS asks the registry first, MISSING only for an image that the store lacks,
            NEVER not at all. What lies on this machine is looked at with MISSING, too.

    Raises:
        HpcboxError: the image can't be had.
    """
    with failures.told(settings.store, "use an image"):
        # Nothing is believed of a store that somebody else may have prepared.
        paths.prepare(settings.store)
    if policy == NEVER or (policy == MISSING and not _lies_here(image, settings)):
        try:
            return records.find(settings.store, image, settings.default_registry)
        except ImageNotFound:
            if policy == NEVER:
                raise
    reference = parse_typed(image, settings.default_registry)
    with reporter() as report, path_in_mind(image):
        return pulled(reference, settings, report)


def _lies_here(image: str, settings: Settings) -> bool:
    """Say whether an image lies on this machine: it may have changed since it was pulled."""
    if image.startswith("sha256:"):
        return False
    return isinstance(parse_typed(image, settings.default_registry), LocalReference)


def pulled(
    reference: Reference | LocalReference,
    settings: Settings,
    report: Report,
    digest: Digest | None = None,
    sink: "LayerSink | None" = None,
) -> ImageRecord:
    """Pull an image; a signal that ends this process unwinds the pull first.

    With `digest` that image and no other. Layers become folders unless there is a `sink`.

    Raises:
        HpcboxError: the image can't be had, or the store can't take it.
    """
    # For an image that is there none of this is loaded: it takes longer than the container.
    from hpcbox.rootfs.sources import source_of  # noqa: PLC0415
    from hpcbox.rootfs.unpack import DirectorySink  # noqa: PLC0415
    from hpcbox.store.pull import pull  # noqa: PLC0415

    with _signals_as_exceptions():
        named = _named(report, str(reference))
        source = source_of(reference, settings, digest, notice=named.notice)
        return pull(source, settings.store, sink or DirectorySink(), _limits(settings), named)


def extracted(
    reference: Reference | LocalReference, settings: Settings, folder: str, report: Report
) -> "Extracted":
    """Unpack an image into a plain folder; a signal that ends this process removes it first.

    Raises:
        HpcboxError: the image can't be had, or the folder can't be made.
    """
    from hpcbox.rootfs.extract import extract  # noqa: PLC0415
    from hpcbox.rootfs.sources import source_of  # noqa: PLC0415 - as in `pulled`

    with _signals_as_exceptions():
        named = _named(report, str(reference))
        source = source_of(reference, settings, notice=named.notice)
        return extract(source, folder, _limits(settings), named)


def _named(report: Report, image: str) -> Noting:
    """Name the image also while the registry hasn't answered and the pipeline knows no name."""
    return Noting(
        lambda progress: report(progress if progress.image else replace(progress, image=image))
    )


def _limits(settings: Settings) -> "Limits":
    from hpcbox.store.pull import Limits  # noqa: PLC0415 - as in `pulled`

    return Limits.of(settings)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise, as SIGINT does: what is half made is removed then.

    One that is ignored stays so: nohup(1) asks for that.
    """
    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for number, handler in old.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _end)
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextmanager
def reporter(*, json_lines: bool = False, quiet: bool = False) -> Iterator[Report]:
    """Give what shows a pull's progress on stderr: a line that changes, or lines."""
    if quiet:
        yield lambda _progress: None
    elif json_lines:
        yield lambda progress: print(json.dumps(as_json(progress)), file=sys.stderr, flush=True)
    elif sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        shown = _ChangingLine()
        try:
            yield shown
        finally:
            shown.end()
    else:
        yield PhaseLines(lambda line: print(line, file=sys.stderr, flush=True))


class _ChangingLine:
    """One line of a terminal, written anew with each report."""

    def __init__(self) -> None:
        self._began = False

    def __call__(self, progress: Progress) -> None:
        # A line that wraps could not be taken back, not even by a "^C" that the terminal adds.
        width = max(_columns() - _SPARE_COLUMNS, 1)
        self._began = True
        print(f"\r\x1b[K{progress.line(width)}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        # What follows, an error too, begins on a line of its own.
        if self._began:
            print(file=sys.stderr)


def _columns() -> int:
    # Of stderr: stdout may go elsewhere. Some terminals say 0.
    return os.get_terminal_size(sys.stderr.fileno()).columns or 80

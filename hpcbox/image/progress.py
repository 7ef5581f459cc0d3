"""How far a pull is: values that the store's pipeline produces, and the lines people are shown.

`meter.py` makes the values. `hpcbox pull --json` prints each as one JSON object (`as_json`).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hpcbox.errors import one_line, shorten

_UNITS = ("B", "KB", "MB", "GB", "TB")
_SILENT_SECONDS = 3.0
_LEAST_IMAGE = 12
# Phases that are worth a line of their own only when they take a while.
_SHORT_PHASES = frozenset(("checking", "unpacking", "syncing", "settling"))
_LASTING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A pull at one moment.

    Attributes:
        phase: `resolving`; `clearing` (removes unused images to make room); `pulling`; `waiting`
            (another pull fetches what is missing); `checking` (that the user may read layers that
            are there); `unpacking` (all bytes are here); `syncing` (waits for the disk);
            `settling` (fits layers to those below them); `ready`.
        image: what is pulled, as text.
        layers_done: layers that are in the store.
        layers: all layers of the image.
        bytes_done: bytes that came from the source.
        bytes_total: bytes that are to come, those that came included.
        seconds: since the pull began.
        rate_bytes: bytes a second that came lately.
        idle_seconds: since something came or the phase began.
        others_done: bytes that other pulls have of the layers that this one waits for.
        others_total: bytes of those layers.
        stored_bytes: what the image takes of the disk; 0 until it is ready.
        note: why the registry lets the pull wait, as `the registry asks to wait 20 s`, or empty.
    """

    phase: str
    image: str
    layers_done: int = 0
    layers: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    seconds: float = 0.0
    rate_bytes: float = 0.0
    idle_seconds: float = 0.0
    others_done: int = 0
    others_total: int = 0
    stored_bytes: int = 0
    note: str = ""

    def seconds_left(self) -> float | None:
        """Return how long the bytes that are missing will take at the present rate, if it has one.

        None too when nothing has come for a while: a rate of the past promises nothing then.
        """
        missing = self.bytes_total - self.bytes_done
        if missing <= 0 or self.rate_bytes < 1 or self.idle_seconds >= _SILENT_SECONDS:
            return None
        return missing / self.rate_bytes

    def line(self, width: int | None = None) -> str:
        """Return one line for people, at most `width` characters if that is given."""
        head, details, tail = _PHASE_TEXTS.get(self.phase, _plain)(self)
        if width is None:
            return one_line(_joined(head, self.image, [*details, *tail]))
        return _fitted(head, self.image, details, tail, width)


def as_json(progress: Progress) -> dict[str, Any]:
    """Return the event that `hpcbox pull --json` prints: the attributes, and `seconds_left`.

    Numbers of bytes are whole, seconds have two decimals, `seconds_left` may be null.
    """
    left = progress.seconds_left()
    return {
        **asdict(progress),
        "seconds": round(progress.seconds, 2),
        "rate_bytes": int(progress.rate_bytes),
        "idle_seconds": round(progress.idle_seconds, 2),
        "seconds_left": None if left is None else round(left, 2),
    }


Report = Callable[[Progress], None]
# Head of the line, details, and details that are the first to go where there is no room.
_Text = tuple[str, list[str], list[str]]


def _plain(progress: Progress) -> _Text:
    return progress.phase, _silence(progress, "no answer"), []


def _pulling(progress: Progress) -> _Text:
    if not progress.bytes_total:
        return "pulling", _silence(progress, "no answer"), []
    silence = _silence(progress, "no data")
    left = progress.seconds_left()
    speed = silence or [f"{size_text(progress.rate_bytes)}/s"]
    if left is not None:
        speed.append(f"{duration_text(left)} left")
    amount = f"{size_text(progress.bytes_done)} of {size_text(progress.bytes_total)}"
    share = percent(progress.bytes_done, progress.bytes_total)
    return "pulling", [share, *speed], [amount, _layers(progress)]


def _waiting(progress: Progress) -> _Text:
    if not progress.others_total:
        return "waiting for", ["another pull fetches it"], []
    share = percent(progress.others_done, progress.others_total)
    return "waiting for", [f"another pull has {share}"], [_layers(progress)]


def _busy(head: str) -> Callable[[Progress], _Text]:
    def text(progress: Progress) -> _Text:
        since = f"for {progress.idle_seconds:.0f} s"
        lasting = [since] if progress.idle_seconds >= _SILENT_SECONDS else []
        return head, lasting, [_layers(progress)]

    return text


def _ready(progress: Progress) -> _Text:
    stored = [f"{size_text(progress.stored_bytes)} in the store"] if progress.stored_bytes else []
    if not progress.bytes_done:
        return "ready", ["nothing to fetch"], stored
    rate = f"{size_text(progress.bytes_done / max(progress.seconds, 0.001))}/s"
    return "ready", [f"{size_text(progress.bytes_done)} in {progress.seconds:.1f} s", rate], stored


_PHASE_TEXTS: dict[str, Callable[[Progress], _Text]] = {
    "pulling": _pulling,
    "waiting": _waiting,
    "checking": _busy("checking access to"),
    "clearing": _busy("making room for"),
    "unpacking": _busy("unpacking"),
    "syncing": _busy("writing to disk"),
    "settling": _busy("settling"),
    "ready": _ready,
}


def _silence(progress: Progress, what: str) -> list[str]:
    if progress.note:
        return [progress.note]
    if progress.idle_seconds < _SILENT_SECONDS:
        return []
    return [f"{what} for {progress.idle_seconds:.0f} s"]


def _layers(progress: Progress) -> str:
    return f"{progress.layers_done} of {progress.layers} layers"


def _joined(head: str, image: str, details: list[str]) -> str:
    start = f"{head} {image}".rstrip()
    return f"{start}: {', '.join(details)}" if details else start


def _fitted(head: str, image: str, details: list[str], tail: list[str], width: int) -> str:
    """Return the line with as much as there is room for: the details before the whole name."""
    image = one_line(image)
    everything = [*details, *tail]
    for count in range(len(everything), -1, -1):
        room = width - len(_joined(head, "", everything[:count])) - 1
        if room >= min(len(image), _LEAST_IMAGE):
            return _joined(head, shorten(image, room) if image else "", everything[:count])
    return head[: max(width, 0)]


class PhaseLines:
    """Reports for readers who can't be shown a changing line: one line a phase.

    A long phase gets another line now and then, and one for each note, so that it never looks
    hung; a short one that is none of the reader's business gets none.
    """

    def __init__(self, write: Callable[[str], None], *, interval_seconds: float = 10.0) -> None:
        self._write = write
        self._interval_seconds = interval_seconds
        self._phase = self._note = ""
        self._written_at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Write the line of this progress if it is time for one."""
        if (progress.phase, progress.note) != (self._phase, self._note):
            if progress.phase in _SHORT_PHASES and progress.idle_seconds < _LASTING_SECONDS:
                return
        elif progress.seconds - self._written_at < self._interval_seconds:
            return
        self._phase, self._written_at = progress.phase, progress.seconds
        self._note = progress.note
        self._write(progress.line())


def percent(done: int, total: int) -> str:
    """Return a share as `45 %`; 100 % only when nothing is missing."""
    return f"{min(done * 100 // max(total, 1), 100)} %"


def duration_text(seconds: float) -> str:
    """Return a duration as `0:07` or `2:03:04`."""
    minutes, second = divmod(min(int(seconds + 0.5), 359999), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def size_text(count: float) -> str:
    """Return a number of bytes for people, in powers of 1000: `1.4 GB`."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if count >= 99.5 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit returns")

"""Layers made of any bytes: few names, so that entries meet each other, and all kinds of them."""

import tarfile
from collections.abc import Sequence

from tests.services.small_images import Item

_PARTS = ("a", "b", "c", "usr", "bin", "n" * 255, "\udce9")
_TARGETS = ("a", "b/c", "/usr", "../a", "..", ".", "usr/bin", "/a/b", "a/../b", "t" * 200)
_KINDS = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
)
_MODES = (0o644, 0o755, 0o4755, 0o1777, 0o555, 0, 0o2700)
_TIMES = (0, 1, 1_600_000_000, -(2**40), 2**40)
_ATTRIBUTES: tuple[dict[str, str], ...] = (
    {},
    {"SCHILY.xattr.user.a": "b"},
    {"SCHILY.xattr.user.a": "v" * 3000, "SCHILY.xattr.user.b": ""},
    {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.a": "b"},
)
_ITEM_BYTES = 6
_MAXIMUM_ITEMS = 24


def layers(data: bytes) -> list[list[Item]]:
    """Return layers, bottom first; six bytes make an entry, or begin a new layer with 255."""
    made: list[list[Item]] = [[]]
    for at in range(0, min(len(data), _ITEM_BYTES * _MAXIMUM_ITEMS), _ITEM_BYTES):
        six = data[at : at + _ITEM_BYTES].ljust(_ITEM_BYTES, b"\0")
        if six[0] == 0xFF:
            made.append([])
        else:
            made[-1].append(_item(six))
    return made


def _item(six: bytes) -> Item:
    kind, first, second, target, mode, rest = six
    name = _PARTS[first % len(_PARTS)]
    if second % 4:
        name += "/" + _PARTS[second // 4 % len(_PARTS)]
    if first >= 0xE0:
        parent, _, last = name.rpartition("/")
        mark = ".wh..wh..opq" if first >= 0xF0 else f".wh.{last}"
        return Item(f"{parent}/{mark}".lstrip("/"))
    chosen = _KINDS[kind % len(_KINDS)]
    return Item(
        name,
        bytes([rest]) * (rest * 5) if chosen == tarfile.REGTYPE else b"",
        kind=chosen,
        target=_pick(_TARGETS, target) if chosen in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "",
        mode=_MODES[mode % len(_MODES)],
        mtime=_TIMES[mode // 8 % len(_TIMES)],
        pax=dict(_ATTRIBUTES[rest % len(_ATTRIBUTES)]),
    )


def _pick(words: Sequence[str], number: int) -> str:
    return words[number % len(words)]


def seeds() -> Sequence[bytes]:
    """Return layers in which something happens."""
    whole = bytes(range(256)) * 2
    return [whole[at : at + 36] for at in range(0, 256, 12)] + [
        bytes([1, 3, 0, 0, 8, 0, 2, 4, 0, 6, 0, 0, 0xFF, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 9]),
        bytes([0, 0, 0, 0, 0, 1, 0xFF, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0]),
        bytes([0, 0, 1, 0, 0, 1, 0xFF, 0, 0, 0, 0, 0, 0, 0xF0, 1, 0, 0, 0]),
    ]

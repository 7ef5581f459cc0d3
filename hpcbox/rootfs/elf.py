"""What an ELF file tells without being executed or mapped: the libraries it needs, its constants.

Reads headers, the dynamic section and its names with pread(2), each within a stated bound: the file
may come from any image, so offsets and counts in it are claims. Formats: elf(5).
Loaded on nodes: standard library only.
"""

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_IDENTITY_BYTES = 16
_MAGIC = b"\x7fELF"
# e_ident[EI_CLASS] and e_ident[EI_DATA].
_BITS = {1: 32, 2: 64}
_ORDERS = {1: "<", 2: ">"}
_HEADERS = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
_SEGMENTS = {32: "IIIIIIII", 64: "IIQQQQQQ"}
_ENTRIES = {32: "iI", 64: "qQ"}
# Positions of p_type, p_offset, p_vaddr, p_filesz and p_flags.
_SEGMENT_FIELDS = {32: (0, 1, 2, 4, 6), 64: (0, 2, 3, 5, 1)}
_PT_LOAD, _PT_DYNAMIC = 1, 2
_PF_X, _PF_W = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB = 0, 1, 5

# Far beyond what linkers write: a program has about ten segments and some dozen entries.
_MAXIMUM_SEGMENTS = 512
_MAXIMUM_ENTRIES = 4096
_MAXIMUM_NAMES = 512
_MAXIMUM_NAME = 255
_MAXIMUM_OFFSET = 2**62
_CHUNK = 2**20


def needed(descriptor: int) -> tuple[str, ...]:
    """Return the DT_NEEDED names of a program or library, in the file's order.

    Empty for a static program, and for anything that isn't a sound dynamic ELF file or can't be
    read. `descriptor` is open for reading; its position stays where it is.
    """
    try:
        return _needed(descriptor)
    except (OSError, struct.error):
        return ()


def contained(descriptor: int, texts: "Collection[bytes]", maximum_bytes: int) -> set[bytes]:
    """Return those of the texts that stand in the constants of a program or library.

    Empty for anything that isn't a sound ELF file or can't be read. Linkers keep constants and the
    names of symbols apart from code and variables, which are not searched; of the rest the first
    `maximum_bytes` are. No text is longer than 1 MiB.
    """
    found: set[bytes] = set()
    try:
        form = _form(descriptor)
        segments = _segments(descriptor, *form)[0] if form else []
        # Old linkers put them beside the code.
        constant = [one for one in segments if not one.flags & (_PF_X | _PF_W)] or segments
        for segment in constant:
            size = min(segment.size, maximum_bytes)
            maximum_bytes -= size
            _search(descriptor, segment.offset, size, set(texts), found)
    except (OSError, struct.error):
        return set()
    return found


def _search(descriptor: int, offset: int, size: int, texts: set[bytes], found: set[bytes]) -> None:
    overlap = max(map(len, texts), default=1) - 1
    tail = b""
    while size > 0 and (chunk := _read(descriptor, offset, min(size, _CHUNK))):
        piece = tail + chunk
        found.update(text for text in texts - found if text in piece)
        tail = piece[-overlap:] if overlap else b""
        offset += len(chunk)
        size -= len(chunk)


def _form(descriptor: int) -> tuple[int, str] | None:
    """Return the width (32, 64) and the byte order ("<", ">") of an ELF file."""
    identity = _read(descriptor, 0, _IDENTITY_BYTES)
    if len(identity) < _IDENTITY_BYTES or not identity.startswith(_MAGIC):
        return None
    bits, order = _BITS.get(identity[4]), _ORDERS.get(identity[5])
    return None if bits is None or order is None else (bits, order)


def _needed(descriptor: int) -> tuple[str, ...]:
    form = _form(descriptor)
    if form is None:
        return ()
    bits, order = form
    loads, dynamic = _segments(descriptor, bits, order)
    if dynamic is None:
        return ()
    table = None
    names: list[int] = []
    for tag, value in _entries(descriptor, dynamic, order + _ENTRIES[bits]):
        if tag == _DT_STRTAB:
            table = _file_offset(loads, value)
        elif tag == _DT_NEEDED and len(names) < _MAXIMUM_NAMES:
            names.append(value)
    if table is None:
        return ()
    found = (_name(descriptor, table + name) for name in names)
    return tuple(name for name in found if name)


class _Segment:
    """A part of the file: where it lies, where it is loaded, and how."""

    __slots__ = ("address", "flags", "offset", "size")

    def __init__(self, address: int, offset: int, size: int, flags: int) -> None:
        self.address = address
        self.offset = offset
        self.size = size
        self.flags = flags


def _segments(descriptor: int, bits: int, order: str) -> tuple[list[_Segment], _Segment | None]:
    """Return the loaded segments, and the dynamic one."""
    form = order + _HEADERS[bits]
    header = struct.unpack(form, _read(descriptor, _IDENTITY_BYTES, struct.calcsize(form)))
    start, entry_size, count = header[4], header[8], header[9]
    form = order + _SEGMENTS[bits]
    loads: list[_Segment] = []
    dynamic = None
    if entry_size != struct.calcsize(form) or count > _MAXIMUM_SEGMENTS:
        return loads, dynamic
    kind_at, offset_at, address_at, size_at, flags_at = _SEGMENT_FIELDS[bits]
    for fields in struct.iter_unpack(form, _read(descriptor, start, entry_size * count)):
        segment = _Segment(fields[address_at], fields[offset_at], fields[size_at], fields[flags_at])
        if fields[kind_at] == _PT_LOAD:
            loads.append(segment)
        elif fields[kind_at] == _PT_DYNAMIC:
            dynamic = segment
    return loads, dynamic


def _entries(descriptor: int, dynamic: _Segment, form: str) -> list[tuple[int, int]]:
    width = struct.calcsize(form)
    data = _read(descriptor, dynamic.offset, min(dynamic.size, _MAXIMUM_ENTRIES * width))
    entries: list[tuple[int, int]] = []
    for tag, value in struct.iter_unpack(form, data[: len(data) // width * width]):
        if tag == _DT_NULL:
            break
        entries.append((tag, value))
    return entries


def _file_offset(loads: list[_Segment], address: int) -> int | None:
    for segment in loads:
        if segment.address <= address < segment.address + segment.size:
            return segment.offset + address - segment.address
    return None


def _name(descriptor: int, offset: int) -> str:
    name, end, _ = _read(descriptor, offset, _MAXIMUM_NAME + 1).partition(b"\0")
    # Without its end it isn't a name that the linker would take.
    return os.fsdecode(name) if end else ""


def _read(descriptor: int, offset: int, size: int) -> bytes:
    return os.pread(descriptor, size, offset) if offset < _MAXIMUM_OFFSET else b""

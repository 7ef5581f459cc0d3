"""Which libraries an ELF file asks the dynamic linker for; the file is never executed or mapped.

Reads headers, the dynamic section and its names with pread(2), each within a stated bound: the file
may come from any image, so offsets and counts in it are claims. Formats: elf(5).
Loaded on nodes: standard library only.
"""

import os
import struct

_IDENTITY_BYTES = 16
_MAGIC = b"\x7fELF"
# e_ident[EI_CLASS] and e_ident[EI_DATA].
_BITS = {1: 32, 2: 64}
_ORDERS = {1: "<", 2: ">"}
_HEADERS = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
_SEGMENTS = {32: "IIIIIIII", 64: "IIQQQQQQ"}
_ENTRIES = {32: "iI", 64: "qQ"}
# Positions of p_type, p_offset, p_vaddr and p_filesz.
_SEGMENT_FIELDS = {32: (0, 1, 2, 4), 64: (0, 2, 3, 5)}
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB = 0, 1, 5

# Far beyond what linkers write: a program has about ten segments and some dozen entries.
_MAXIMUM_SEGMENTS = 512
_MAXIMUM_ENTRIES = 4096
_MAXIMUM_NAMES = 512
_MAXIMUM_NAME = 255
_MAXIMUM_OFFSET = 2**62


def needed(descriptor: int) -> tuple[str, ...]:
    """Return the DT_NEEDED names of a program or library, in the file's order.

    Empty for a static program, and for anything that isn't a sound dynamic ELF file or can't be
    read. `descriptor` is open for reading; its position stays where it is.
    """
    try:
        return _needed(descriptor)
    except (OSError, struct.error):
        return ()


def _needed(descriptor: int) -> tuple[str, ...]:
    identity = _read(descriptor, 0, _IDENTITY_BYTES)
    if len(identity) < _IDENTITY_BYTES or not identity.startswith(_MAGIC):
        return ()
    bits, order = _BITS.get(identity[4]), _ORDERS.get(identity[5])
    if bits is None or order is None:
        return ()
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


def _segments(
    descriptor: int, bits: int, order: str
) -> tuple[list[tuple[int, int, int]], tuple[int, int] | None]:
    """Return the loaded segments as (address, offset, size), and offset and size of the dynamic."""
    form = order + _HEADERS[bits]
    header = struct.unpack(form, _read(descriptor, _IDENTITY_BYTES, struct.calcsize(form)))
    start, entry_size, count = header[4], header[8], header[9]
    form = order + _SEGMENTS[bits]
    loads: list[tuple[int, int, int]] = []
    dynamic = None
    if entry_size != struct.calcsize(form) or count > _MAXIMUM_SEGMENTS:
        return loads, dynamic
    kind_at, offset_at, address_at, size_at = _SEGMENT_FIELDS[bits]
    for fields in struct.iter_unpack(form, _read(descriptor, start, entry_size * count)):
        if fields[kind_at] == _PT_LOAD:
            loads.append((fields[address_at], fields[offset_at], fields[size_at]))
        elif fields[kind_at] == _PT_DYNAMIC:
            dynamic = fields[offset_at], fields[size_at]
    return loads, dynamic


def _entries(descriptor: int, dynamic: tuple[int, int], form: str) -> list[tuple[int, int]]:
    offset, size = dynamic
    width = struct.calcsize(form)
    data = _read(descriptor, offset, min(size, _MAXIMUM_ENTRIES * width))
    entries: list[tuple[int, int]] = []
    for tag, value in struct.iter_unpack(form, data[: len(data) // width * width]):
        if tag == _DT_NULL:
            break
        entries.append((tag, value))
    return entries


def _file_offset(loads: list[tuple[int, int, int]], address: int) -> int | None:
    for start, offset, size in loads:
        if start <= address < start + size:
            return offset + address - start
    return None


def _name(descriptor: int, offset: int) -> str:
    name, end, _ = _read(descriptor, offset, _MAXIMUM_NAME + 1).partition(b"\0")
    # Without its end it isn't a name that the linker would take.
    return os.fsdecode(name) if end else ""


def _read(descriptor: int, offset: int, size: int) -> bytes:
    return os.pread(descriptor, size, offset) if offset < _MAXIMUM_OFFSET else b""

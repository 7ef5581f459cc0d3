"""What a program needs, read from real files and from hostile ones."""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcbox.rootfs import elf

SMALL = {32: ("HHIIIIIHHHHHH", "IIIIIIII", "iI", 52), 64: ("HHIQQQIHHHHHH", "IIQQQQQQ", "qQ", 64)}


def needed(path: Path) -> tuple[str, ...]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return elf.needed(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def memory_file(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("elf")
    try:
        os.write(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


def dynamic_file(bits: int, order: str, names: list[bytes]) -> bytes:
    """A file of headers, dynamic section and names, all in one segment at 0x1000."""
    header_form, segment_form, entry_form, header_size = SMALL[bits]
    strings = b"\0" + b"".join(name + b"\0" for name in names)
    offsets = [1 + sum(len(name) + 1 for name in names[:number]) for number in range(len(names))]
    segment_size, width = struct.calcsize(order + segment_form), struct.calcsize(order + entry_form)
    dynamic_at = header_size + 2 * segment_size
    strings_at = dynamic_at + (len(names) + 2) * width
    entries = [(1, offset) for offset in offsets] + [(5, 0x1000 + strings_at), (0, 0)]
    total = strings_at + len(strings)

    def segment(kind: int, offset: int, size: int) -> bytes:
        if bits == 32:
            fields = (kind, offset, 0x1000 + offset, 0, size, size, 4, 8)
        else:
            fields = (kind, 4, offset, 0x1000 + offset, 0, size, size, 8)
        return struct.pack(order + segment_form, *fields)

    identity = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    header = struct.pack(
        order + header_form,
        *(3, 0, 1, 0, header_size, 0, 0, header_size, segment_size, 2, 0, 0, 0),
    )
    return b"".join((
        identity + header,
        segment(1, 0, total),
        segment(2, dynamic_at, strings_at - dynamic_at),
        *(struct.pack(order + entry_form, *entry) for entry in entries),
        strings,
    ))  # fmt: skip


def test_the_libraries_of_a_program_are_those_that_readelf_lists() -> None:
    listing = subprocess.run(
        ["readelf", "-d", sys.executable], capture_output=True, text=True, check=True
    ).stdout
    lines = [line for line in listing.splitlines() if "(NEEDED)" in line]
    listed = tuple(line.partition("[")[2].rstrip("]") for line in lines)

    assert needed(Path(sys.executable)) == listed
    assert "libc.so.6" in listed


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_widths_and_both_byte_orders_are_read(bits: int, order: str) -> None:
    content = dynamic_file(bits, order, [b"libmpi.so.40", b"libc.so.6"])

    with memory_file(content) as descriptor:
        assert elf.needed(descriptor) == ("libmpi.so.40", "libc.so.6")


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    binary = tmp_path / "main"
    subprocess.run(["gcc", "-static", "-o", binary, source], check=True)

    assert needed(binary) == ()


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\nexit 0\n", b"\x7fELF" * 100])
def test_a_file_that_is_no_program_needs_nothing(content: bytes) -> None:
    with memory_file(content) as descriptor:
        assert elf.needed(descriptor) == ()


def test_a_pipe_and_a_folder_need_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, dynamic_file(64, "<", [b"libmpi.so.40"]))

    assert elf.needed(reader) == ()
    assert needed(tmp_path) == ()
    os.close(reader)
    os.close(writer)


def test_a_name_without_an_end_is_left_out() -> None:
    content = dynamic_file(64, "<", [b"libc.so.6", b"x" * 4000])

    with memory_file(content) as descriptor:
        assert elf.needed(descriptor) == ("libc.so.6",)


def test_constants_are_found_within_the_bound_and_not_beyond(tmp_path: Path) -> None:
    source, binary = tmp_path / "library.c", tmp_path / "library.so"
    source.write_text(
        'const char pad[] = {[0 ... 4000000] = 120};\nconst char end[] = "the end";\n'
    )
    subprocess.run(["gcc", "-shared", "-o", binary, source], check=True)
    texts = {b"x" * 1000, b"x\0the end\0", b"the end", b"no such text"}

    descriptor = os.open(binary, os.O_RDONLY)
    try:
        found = elf.contained(descriptor, texts, 2**30)
        bounded = elf.contained(descriptor, texts, 2**21)
    finally:
        os.close(descriptor)

    assert {b"x" * 1000, b"the end"} <= found
    assert b"no such text" not in found
    assert b"the end" not in bounded


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([32, 64]),
    st.sampled_from(["<", ">"]),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=12),
    st.integers(0, 400),
)
def test_bytes_changed_anywhere_neither_crash_nor_hang(
    bits: int, order: str, changes: list[tuple[int, bytes]], length: int
) -> None:
    content = bytearray(dynamic_file(bits, order, [b"libmpi.so.40", b"libm.so.6", b"libc.so.6"]))
    for place, new in changes:
        content[place : place + len(new)] = new

    for variant in (bytes(content), bytes(content[:length])):
        with memory_file(variant) as descriptor:
            names = elf.needed(descriptor)
            found = elf.contained(descriptor, {b"libmpi", b"absent"}, 10**6)
            assert len(names) <= 512
            assert all(0 < len(name) <= 255 for name in names)
            assert found <= {b"libmpi"}

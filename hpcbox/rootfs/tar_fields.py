"""The fields of tar headers: numbers in octal, base 256 and decimal, checksums, PAX records.

POSIX.1-2001 (pax) and GNU tar's manual ("Basic Tar Format") describe them. All of it comes from a
stranger. The common forms take a short way: a layer has a hundred thousand headers.
"""

from collections.abc import Iterator
from functools import lru_cache

from hpcbox.errors import BlobInvalid

_MAXIMUM_NUMBER = 2**63 - 1
_NANOSECONDS = 10**9


def number(field: bytes, *, negative: bool = False) -> int:
    """Return a header's number: octal digits, or base 256 with the first bit set (GNU).

    Raises:
        BlobInvalid: it is no number, or negative where that is not allowed.
    """
    digits = field[:-1]
    if digits.isdigit() and field[-1] in b"\0 ":
        try:
            return int(digits, 8)
        except ValueError:
            pass
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
    else:
        text = field.partition(b"\0")[0].strip(b" ")
        if text.strip(b"01234567"):
            raise BlobInvalid("layer is broken: a tar header holds something that is no number")
        value = int(text or b"0", 8)
    if value < 0 and not negative:
        raise BlobInvalid("layer is broken: a tar header holds a negative number")
    return _bounded(value)


# Modes and times repeat: the same few fields, and then the same objects in memory.
@lru_cache(maxsize=2**10)
def mode_of(field: bytes) -> int:
    """Return a header's permission bits, 0 to 0o7777.

    Raises:
        BlobInvalid: it is no number.
    """
    return number(field) & 0o7777


@lru_cache(maxsize=2**10)
def nanoseconds(field: bytes) -> int:
    """Return a header's time in nanoseconds since 1970.

    Raises:
        BlobInvalid: it is no number.
    """
    return number(field, negative=True) * _NANOSECONDS


def decimal(text: bytes) -> int:
    """Return a number of a PAX header.

    Raises:
        BlobInvalid: it is no number.
    """
    if text.isdigit() and len(text) < 18:
        return int(text)
    if not text or text.strip(b"0123456789") or len(text) > 20:
        raise BlobInvalid("layer is broken: a PAX header holds something that is no number")
    return _bounded(int(text))


@lru_cache(maxsize=2**10)
def pax_nanoseconds(text: bytes) -> int:
    """Return a time of a PAX header, as `1600000000.25`, in nanoseconds since 1970.

    Raises:
        BlobInvalid: it is no time.
    """
    # What is asked for is remembered: nothing that could fill the memory may be.
    if len(text) > 64:
        raise BlobInvalid("layer is broken: a PAX header holds something that is no number")
    whole, _, fraction = text.partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    digits = fraction[:9].ljust(9, b"0") if fraction else b"0"
    return sign * (decimal(whole.lstrip(b"-") or b"0") * _NANOSECONDS + decimal(digits))


@lru_cache(maxsize=2**14)
def expected_adler(checksum: bytes) -> int:
    """Return the lower half of Adler-32 that a header with this checksum has.

    That two sums in 65521 look alike is nothing against a format whose sum finds accidents only.
    -1 stands for a checksum that is no number.
    """
    try:
        stated = number(checksum)
    except BlobInvalid:
        return -1
    # The sum was made with blanks in its own place.
    return (1 + stated - 8 * 0x20 + sum(checksum)) % 65521


def has_signed_sum(header: bytes) -> bool:
    """Say whether a header has the checksum that some old tars made: of bytes with a sign."""
    signed = sum(header) - 256 * sum(byte > 127 for byte in header)
    return (1 + signed) % 65521 == expected_adler(header[148:156])


def pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records of a PAX header; each is `LENGTH KEY=VALUE` and a newline.

    Raises:
        BlobInvalid: a record breaks this form.
    """
    position = 0
    while position < len(content):
        digits, blank, _ = content[position : position + 21].partition(b" ")
        end = position + (decimal(digits) if blank else 0)
        start = position + len(digits) + 1
        key, equals, value = content[start : end - 1].partition(b"=")
        # Each record has to end behind its own blank: one that ended before would come for ever.
        if end <= start or content[end - 1 : end] != b"\n" or not equals:
            raise BlobInvalid("layer is broken: a PAX header that follows no rule")
        position = end
        yield key, value


def _bounded(value: int) -> int:
    if not -_MAXIMUM_NUMBER <= value <= _MAXIMUM_NUMBER:
        raise BlobInvalid("layer is broken: a tar header holds a number without bounds")
    return value

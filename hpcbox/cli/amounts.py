"""Amounts on command lines: numbers of bytes and of other things."""

import argparse
import re

_SIZE = re.compile(r"([0-9]{1,18})([KMGT]?)(?:i?B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def size_bytes(text: str) -> int:
    """Return a number of bytes written as `4096`, `500M` or `20G`: powers of 1024, as Slurm's.

    Raises:
        argparse.ArgumentTypeError: it isn't one.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; 4096, 500M or 20G is meant")
    return int(match[1]) << 10 * _POWERS[match[2].upper()]


def count(text: str) -> int:
    """Return a whole number, 0 or more.

    Raises:
        argparse.ArgumentTypeError: it isn't one.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number, 0 or more")
    return int(text)

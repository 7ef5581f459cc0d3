"""`json.loads` without the json package, whose import costs 9 ms of a step's start (measured).

The scanner is the C one of CPython that json itself uses. Loaded on every node and step.
"""

from _json import make_scanner


class _Context:
    """What the scanner asks for: json's own defaults; of duplicate keys the last one counts."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def loads(text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text isn't one JSON value (RFC 8259).
    """
    stripped = text.strip(" \t\r\n")
    scan = make_scanner(_Context)  # type: ignore[arg-type]  # typeshed knows json's decoder only
    try:
        value, end = scan(stripped, 0)
    except (StopIteration, SystemError) as error:
        # SystemError: for some faults the scanner wants json's own error and finds no json.
        raise ValueError("not a JSON value") from error
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if end != len(stripped):
        raise ValueError("text follows the JSON value")
    return value

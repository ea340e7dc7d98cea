"""Data in error messages: on one line, and at most 200 characters of it."""

from __future__ import annotations

import reprlib

__all__ = ["LONGEST_QUOTE", "described", "quoted", "shorten"]

LONGEST_QUOTE = 200

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, LONGEST_QUOTE, LONGEST_QUOTE


def shorten(text: str, most: int = LONGEST_QUOTE) -> str:
    """Text on one line, cut to `most` characters; unprintable ones are escaped as in `repr`."""
    line = " ".join(text[: 4 * most].split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def quoted(value: object) -> str:
    """The `repr` of any value, cut to `LONGEST_QUOTE` characters; only its beginning is read."""
    try:
        return shorten(_SHORT.repr(value))
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return f"a {type(value).__name__} that is too long to be written"


def described(value: object) -> str:
    """A value, as `quoted`, and its type."""
    return f"{quoted(value)} ({type(value).__name__})"

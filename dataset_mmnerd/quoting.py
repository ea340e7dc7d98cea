"""Data in error messages: on one line, and at most 200 characters of it."""

from __future__ import annotations

import reprlib

LONGEST_QUOTE = 200

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, LONGEST_QUOTE, LONGEST_QUOTE


def shorten(text: str) -> str:
    """Text on one line, cut to `LONGEST_QUOTE` characters."""
    line = " ".join(text[: 4 * LONGEST_QUOTE].split())
    return line if len(line) <= LONGEST_QUOTE else f"{line[: LONGEST_QUOTE - 3]}..."


def quoted(value: object) -> str:
    """The `repr` of any value, cut to `LONGEST_QUOTE` characters; nested values stay cheap."""
    return shorten(_SHORT.repr(value))


__all__ = ["LONGEST_QUOTE", "quoted", "shorten"]

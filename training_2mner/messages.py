"""What error messages have in common."""

from __future__ import annotations

from reprlib import Repr
from typing import Any

__all__ = ["QUOTED", "shorten"]

QUOTED = 200
"""Characters of somebody's data in a message, at most."""

_bounded = Repr()
_bounded.maxstring = _bounded.maxother = _bounded.maxlong = QUOTED


def shorten(value: Any) -> str:
    """`repr(value)`, cut to `QUOTED` characters."""
    return _bounded.repr(value)[:QUOTED]

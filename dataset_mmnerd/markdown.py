"""Pieces of Markdown for cards and figures, and tables of plain text for the terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"([\\`*_\[\]|~$])")


def escaped(text: str) -> str:
    """Text on one line, with everything escaped that Markdown or HTML would read as markup."""
    return _MARKUP.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def code(text: str) -> str:
    """Text on one line as inline code. It may hold backticks; a `|`, which ends a table cell, is
    escaped.
    """
    text = " ".join(text.split())
    fence = "`" * (longest_backticks(text) + 1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}".replace("|", r"\|")


def longest_backticks(text: str) -> int:
    """The length of the longest run of backticks. A fence around the text needs one more."""
    return max(map(len, re.findall("`+", text)), default=0)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["English", "German", "Dutch"])
    'English, German and Dutch'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table. The first column is aligned left, the others right.

    Whole numbers get thousands separators. Any other value is escaped as text.
    """
    lines = [f"| {' | '.join(map(escaped, head))} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for row in rows:
        cells = (f"{cell:,}" if isinstance(cell, int) else escaped(str(cell)) for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def text_table(head: Sequence[str], blocks: Iterable[Sequence[Sequence[str]]]) -> str:
    """A table of plain text, with a rule above each block of rows. The first column is aligned
    left, the others right.
    """
    blocks = list(blocks)
    rows = [head, *(row for block in blocks for row in block)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        name, *figures = row
        cells = [name.ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(figures, widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(head)]
    for block in blocks:
        lines += [rule, *map(line, block)]
    return "\n".join(lines)


__all__ = ["code", "escaped", "listed", "longest_backticks", "table", "text_table"]

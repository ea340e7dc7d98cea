"""Sentences in files of lines: text, JSON lines, CoNLL and CoNLL-U.

Files are read as bytes and cut at line feeds alone, as in `dataset_mmnerd.readers`. CoNLL files
need no labels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataset_mmnerd.quoting import quoted, shorten

from .rows import Fault, Record, Row, RowError, Source, Wanted

__all__ = ["LINE_SOURCES", "JsonLines", "line_format"]

LONGEST_LINE = 2**24
_LABEL = re.compile(r"O|[BIES]-\S+")


@dataclass
class _Unit:
    """The lines of one row, not parsed: where they begin, and their bytes; `fault`, if one is too
    long."""

    line: int
    lines: list[bytes]
    fault: RowError | None = None


class _LineSource(Source):
    """A file of lines; its subclasses say which lines are a row and what they hold."""

    def units(self) -> Iterator[_Unit]:
        """Each line that is not blank."""
        for number, line, fault in _lines(self.path):
            if fault is not None or line.strip():
                yield _Unit(number, [line], fault)

    def record(self, unit: _Unit) -> Record:
        raise NotImplementedError

    def count(self) -> int:
        return sum(1 for _ in self.units())

    def rows(self, wanted: Wanted, *, images: bool = True) -> Iterator[Row | Fault]:
        for number, unit in enumerate(self.units()):
            if not wanted(number):
                continue
            try:
                if unit.fault is not None:
                    raise unit.fault
                yield self.row(self.record(unit), number, unit.line, images)
            except RowError as error:
                yield self.fault(number, unit.line, error)


def _lines(path: Path) -> Iterator[tuple[int, bytes, RowError | None]]:
    """The lines of a file with their numbers, without line ends and byte order mark. Files are cut
    at line feeds alone: other characters that end lines occur in tweets. Of a line that is too long
    nothing is kept."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            fault = None
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                fault = RowError("a longer line", f"at most {LONGEST_LINE:,} bytes")
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                line = b""
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield number, line.removesuffix(b"\n").removesuffix(b"\r"), fault


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{line[error.start]:02x} as byte {error.start + 1} of the line"
        raise RowError(found, "UTF-8 text") from None


class _Text(_LineSource):
    """One sentence a line."""

    def record(self, unit: _Unit) -> Record:
        return {"text": _decoded(unit.lines[0])}


class JsonLines(_LineSource):
    """One JSON object a line."""

    def record(self, unit: _Unit) -> Record:
        line = _decoded(unit.lines[0])
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            found = f"{quoted(line)} ({shorten(str(error))})"
            raise RowError(found, "a JSON object") from None
        if not isinstance(record, dict):
            raise RowError(quoted(line), "a JSON object")
        if "\\u" in line:
            text = json.dumps(record, ensure_ascii=False)
            half = next((letter for letter in text if "\ud800" <= letter <= "\udfff"), None)
            if half is not None:
                raise RowError(f"half a character, {ascii(half)[1:-1]}", "whole ones")
        return record


class _Conll(_LineSource):
    """A word a line, in the first column; a blank line ends a sentence, `IMGID:` begins one."""

    word_column, least_columns = 0, 1

    def units(self) -> Iterator[_Unit]:
        unit: _Unit | None = None
        for number, line, fault in _lines(self.path):
            begins = self.begins(line)
            if unit is not None and (begins or not (fault or line.strip())):
                yield unit
                unit = None
            if begins or fault or line.strip():
                unit = unit or _Unit(number, [])
                unit.lines.append(line)
                unit.fault = unit.fault or fault
        if unit is not None:
            yield unit

    def begins(self, line: bytes) -> bool:
        """Whether a line begins a sentence also where no blank line ends the one before."""
        return line.startswith(b"IMGID:") and b"\t" not in line

    def record(self, unit: _Unit) -> Record:
        record: Record = {"tokens": []}
        for offset, raw in enumerate(unit.lines):
            line = _decoded(raw)
            if not self.header(line, record):
                columns = line.split("\t")
                if len(columns) < self.least_columns or not columns[self.word_column].strip():
                    found = f"{quoted(line)} in line {unit.line + offset}"
                    raise RowError(found, "columns with TABs between them, one a word")
                record["tokens"].append(columns[self.word_column])
        return record

    def header(self, line: str, record: Record) -> bool:
        """Take in a line that holds no word."""
        if not (line.startswith("IMGID:") and "\t" not in line):
            return False
        record["image"] = line.removeprefix("IMGID:").strip()
        return True


class _Conllu(_Conll):
    """The same with the word in the second column, and lines of comments."""

    word_column, least_columns = 1, 2

    def begins(self, line: bytes) -> bool:
        return False

    def units(self) -> Iterator[_Unit]:
        for unit in super().units():
            if unit.fault or any(not line.startswith(b"#") for line in unit.lines):
                yield unit

    def header(self, line: str, record: Record) -> bool:
        if not line.startswith("#"):
            return False
        key, _, value = line[1:].partition("=")
        if key.strip() == "sent_id" and value.strip():
            record["id"] = value.strip()
        return True


LINE_SOURCES: dict[str, type[Source]] = {
    "text": _Text,
    "conll": _Conll,
    "conllu": _Conllu,
    "jsonl": JsonLines,
}


def line_format(path: Path) -> str:
    """The format of a file by its first line that is no comment: text if it is no other; `parquet`
    if it is one of that."""
    for _, raw, _ in _lines(path):
        line = raw.decode("utf-8", "replace")
        columns = line.split("\t")
        if not line.strip() or line.startswith("# "):
            continue
        if raw.startswith(b"PAR1"):
            return "parquet"
        if re.fullmatch(r"\{.*\}\s*", line):
            return "jsonl"
        if len(columns) >= 3 and columns[0].isdecimal():
            return "conllu"
        is_labelled = len(columns) == 2 and _LABEL.fullmatch(columns[1].strip())
        return "conll" if is_labelled or line.startswith("IMGID:") else "text"
    return "text"

"""Sentences to be annotated: text, CoNLL, JSON lines, Parquet or a data set, read one at a time.

    source = open_source("posts.jsonl", image_dir="images/")
    for row in source.rows(lambda number: number >= 1000):
        row.model_input()

A row that cannot be read is given as a `Fault`, which says where it is and why, and reading goes
on. Rows have numbers from 0, faults among them. A reader parses the rows that are wanted and passes
over the others, so that a command that is resumed, or that is one of several processes, does little
for rows that are not its own.

Columns of JSON lines, Parquet and data sets: `text`, or `tokens` (a list of words); and perhaps
`id`, `lang`, `image` (a name below the folder of images; in Parquet and data sets also its content)
and its visual context, lists of strings under `objects`, `captions` and `ocr`. CoNLL files need no
labels.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Image, IterableDataset, load_from_disk
from huggingface_hub import HfApi

from dataset_mmnerd.loading import LoadingError, load_named, reading_data_set
from dataset_mmnerd.quoting import quoted, shorten
from dataset_mmnerd.readers import find_image, is_safe_name
from dataset_mmnerd.schema import CONTEXT_COLUMNS, SPLITS

__all__ = [
    "COLUMNS",
    "FORMATS",
    "Fault",
    "InputError",
    "Row",
    "Source",
    "fingerprint_of",
    "open_source",
]

COLUMNS = ("id", "text", "tokens", "lang", "image", *CONTEXT_COLUMNS)
FORMATS = ("text", "conll", "conllu", "jsonl", "parquet", "dataset")
LONGEST_LINE = 2**24
_SUFFIXES = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".conllu": "conllu",
    ".iob2": "conllu",
    ".conll": "conll",
}
_LABEL = re.compile(r"O|[BIES]-\S+")
_ROWS_AT_A_TIME = 64
_HEAD_BYTES = 2**20

Record = dict[str, Any]
Wanted = Callable[[int], bool]


class InputError(ValueError):
    """Sentences that cannot be read at all: where, what was found and what was expected."""


class _FaultError(ValueError):
    """What is wrong with one row: what was found and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"found {found}, expected {expected}")


@dataclass(frozen=True)
class Fault:
    """A row that cannot be read; the message names file and line."""

    number: int
    message: str


@dataclass(frozen=True)
class Row:
    """A sentence.

    Attributes:
        number: its number in the input, from 0.
        place: where it is in the input, for messages.
        id: its own, or made of the input's name and the row's line or number.
        text: None where it is given as words.
        tokens: its words; None where it is given as text.
        lang: its language, if it says so.
        image: a path, or `bytes` and `path`; None if there is none.
        image_name: the name that the input gives the image.
        has_image: whether the input gives it one.
        image_missing: whether there is no such file.
        context: the image's visual context.
    """

    number: int
    place: str
    id: str
    text: str | None
    tokens: list[str] | None
    lang: str | None
    image: str | dict[str, Any] | None
    image_name: str | None
    has_image: bool
    image_missing: bool
    context: dict[str, list[str] | None]

    def model_input(self) -> dict[str, Any]:
        """The sentence as the pipeline takes it."""
        content = {"text": self.text} if self.tokens is None else {"words": self.tokens}
        return {**content, "image": self.image, **self.context}

    def without_image(self) -> Row:
        """The same, holding no image."""
        return replace(self, image=None)

    def image_bytes(self) -> bytes | None:
        """The image's content, encoded; None without one, or if its file cannot be read."""
        if isinstance(self.image, dict):
            return self.image["bytes"]
        try:
            return None if self.image is None else Path(self.image).read_bytes()
        except OSError:
            return None


class Source:
    """Sentences of one form.

    Args:
        path: where they are.
        image_dir: where images are that are given by name.
        columns: names of columns of the input, by those of `COLUMNS`.
        label: what ids begin with.
    """

    def __init__(self, path: Path, image_dir: Path, columns: Mapping[str, str], label: str) -> None:
        self.path, self.image_dir, self.columns, self.label = path, image_dir, columns, label

    def rows(self, wanted: Wanted, *, images: bool = True) -> Iterator[Row | Fault]:
        """The rows with wanted numbers, in order.

        Args:
            wanted: tells the numbers.
            images: False gives rows without images.

        Raises:
            InputError: if reading cannot go on.
        """
        raise NotImplementedError

    def count(self) -> int | None:
        """How many rows there are; None if that is not known without reading them."""
        raise NotImplementedError

    def fingerprint(self) -> Any:
        """What changes if the input does: of files their names, sizes, times and first bytes."""
        return fingerprint_of([self.path])

    def row(self, record: Record, number: int, line: int, images: bool) -> Row:
        """A row of a record that has some of `COLUMNS`; raises `_FaultError`."""
        for column, name in self.columns.items():
            record[column] = record.get(name)
        tokens, text = _strings(record, "tokens"), record.get("text")
        if tokens is None and not isinstance(text, str):
            found = "no 'tokens' and no 'text'" if text is None else f"'text': {quoted(text)}"
            raise _FaultError(found, "a string 'text' or a list of strings 'tokens'")
        own, lang = record.get("id"), record.get("lang")
        image, name, missing = self._image(record.get("image"), images)
        return Row(
            number,
            self.place(line),
            f"{self.label}-{line}" if own is None or own == "" else _name(own),
            text if tokens is None else None,
            tokens,
            lang if isinstance(lang, str) else None,
            image,
            name,
            image is not None or missing,
            missing,
            {column: _strings(record, column) for column in CONTEXT_COLUMNS},
        )

    def place(self, line: int) -> str:
        """Where a row is, for messages."""
        return f"{self.path}, line {line}"

    def _image(
        self, value: Any, wanted: bool
    ) -> tuple[str | dict[str, Any] | None, str | None, bool]:
        """An image if it is wanted, its name, and whether it is missing."""
        if value is None or value == "":
            return None, None, False
        if isinstance(value, Mapping):
            name = value.get("path")
            if isinstance(value.get("bytes"), bytes):
                shown = Path(name).name if isinstance(name, str) else None
                return {"bytes": value["bytes"], "path": name}, shown, False
            if name is None:
                return None, None, False
            value = name
        if not isinstance(value, str):
            raise _FaultError(f"'image': {quoted(value)}", "the name of a file, or its content")
        inside = Path(value)
        if inside.is_absolute() and inside.resolve().is_relative_to(self.path.resolve()):
            return value, inside.name, False  # of a folder of images that `datasets` reads
        if not is_safe_name(value):
            raise _FaultError(f"image {quoted(value)}", "a relative name inside the image folder")
        if not wanted:
            return None, value, False
        found = find_image(value, self.image_dir)
        return None if found is None else str(found), value, found is None


def _strings(record: Record, key: str) -> list[str] | None:
    value = record.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _FaultError(f"{key!r}: {quoted(value)}", "a list of strings")
    return value


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _FaultError(f"'id': {quoted(value)}", "a string or a number")
    return str(value)


def fingerprint_of(paths: list[Path]) -> list[list[Any]]:
    """Of each file its name, size, time and a digest of its first bytes."""
    found = []
    for path in paths:
        status = path.stat()
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
        found.append([path.name, status.st_size, status.st_mtime_ns, head])
    return found


# Lines --------------------------------------------------------------------------------------------


@dataclass
class _Unit:
    """The lines of one row, not parsed: where they begin, and their bytes; `fault`, if one is too
    long."""

    line: int
    lines: list[bytes]
    fault: _FaultError | None = None


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
            except _FaultError as fault:
                yield Fault(number, f"{self.place(unit.line)}: {fault}")


def _lines(path: Path) -> Iterator[tuple[int, bytes, _FaultError | None]]:
    """The lines of a file with their numbers, without line ends and byte order mark. Files are cut
    at line feeds alone: other characters that end lines occur in tweets. Of a line that is too long
    nothing is kept."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            fault = None
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                fault = _FaultError("a longer line", f"at most {LONGEST_LINE:,} bytes")
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
        raise _FaultError(found, "UTF-8 text") from None


class _Text(_LineSource):
    """One sentence a line."""

    def record(self, unit: _Unit) -> Record:
        return {"text": _decoded(unit.lines[0])}


class _JsonLines(_LineSource):
    """One JSON object a line."""

    def record(self, unit: _Unit) -> Record:
        line = _decoded(unit.lines[0])
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            found = f"{quoted(line)} ({shorten(str(error))})"
            raise _FaultError(found, "a JSON object") from None
        if not isinstance(record, dict):
            raise _FaultError(quoted(line), "a JSON object")
        if "\\u" in line:
            text = json.dumps(record, ensure_ascii=False)
            half = next((letter for letter in text if "\ud800" <= letter <= "\udfff"), None)
            if half is not None:
                raise _FaultError(f"half a character, {ascii(half)[1:-1]}", "whole ones")
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
                    raise _FaultError(found, "columns with TABs between them, one a word")
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


# Tables -------------------------------------------------------------------------------------------


def _read_columns(names: list[str], columns: Mapping[str, str], where: str) -> list[str]:
    """The columns to be read.

    Raises:
        InputError: if there are neither words nor text.
    """
    missing = next((name for name in columns.values() if name not in names), None)
    known = {*COLUMNS, *columns.values()}
    has_words = not {"text", "tokens"}.isdisjoint({*names, *columns})
    if missing is not None or not has_words:
        found = shorten(", ".join(names))
        expected = "'text' or 'tokens'" if missing is None else quoted(missing)
        raise InputError(
            f"{where}: found the columns {found}, expected {expected}; tell another name by "
            "--columns, such as text=NAME"
        )
    return [name for name in names if name in known]


class _Parquet(Source):
    """One Parquet file."""

    def place(self, line: int) -> str:
        return f"{self.path}, row {line}"

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.path}: found {shorten(str(error))}, expected a whole Parquet file"
        )

    def count(self) -> int:
        with self._open() as file:
            return file.metadata.num_rows

    def rows(self, wanted: Wanted, *, images: bool = True) -> Iterator[Row | Fault]:
        with self._open() as file:
            names = _read_columns(file.schema_arrow.names, self.columns, str(self.path))
            names = [name for name in names if images or name != "image"]
            first = 0
            for group in range(file.num_row_groups):
                rows = range(first, first + file.metadata.row_group(group).num_rows)
                first = rows.stop
                if any(map(wanted, rows)):
                    yield from self._of_group(file, group, names, rows.start, wanted, images)

    def _of_group(
        self,
        file: pq.ParquetFile,
        group: int,
        names: list[str],
        number: int,
        wanted: Wanted,
        images: bool,
    ) -> Iterator[Row | Fault]:
        batches = file.iter_batches(_ROWS_AT_A_TIME, row_groups=[group], columns=names)
        while True:
            try:
                batch = next(batches, None)
                records = [] if batch is None else batch.to_pylist()
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._damaged(error) from error
            if batch is None:
                return
            for record in records:
                if wanted(number):
                    try:
                        yield self.row(record, number, number, images)
                    except _FaultError as fault:
                        yield Fault(number, f"{self.place(number)}: {fault}")
                number += 1


class _DataSet(Source):
    """The splits of a data set, one after the other."""

    def __init__(
        self,
        name: str,
        image_dir: Path,
        columns: Mapping[str, str],
        config: str | None,
        split: str | None,
    ) -> None:
        super().__init__(Path(name), image_dir, columns, name)
        self.name = name
        try:
            splits = _load(name, config)
        except LoadingError as error:
            raise InputError(f"{name}: found no data set that can be read ({error})") from error
        order = [one for one in SPLITS if one in splits]
        order += [one for one in splits if one not in order]
        if split is not None and split not in order:
            raise InputError(f"{name}: found the splits {', '.join(order)}, expected {split!r}")
        self.splits = {one: splits[one] for one in order if split in (None, one)}
        for one, rows in self.splits.items():
            _read_columns(list(rows.features or ()), columns, f"{name}, {one}")

    def place(self, line: int) -> str:
        return f"{self.name}, {self.label}, row {line}"

    def fingerprint(self) -> Any:
        if self.path.is_dir():
            files = sorted(path for path in self.path.rglob("*") if path.is_file())
            return [*self.splits, *fingerprint_of(files)]
        return [*self.splits, HfApi().dataset_info(self.name).sha]

    def count(self) -> int | None:
        counts = []
        for split, rows in self.splits.items():
            known = rows.info.splits or {}
            length = len(rows) if isinstance(rows, Dataset) else None
            counts.append(length or getattr(known.get(split), "num_examples", None))
        return None if None in counts else sum(counts)

    def rows(self, wanted: Wanted, *, images: bool = True) -> Iterator[Row | Fault]:
        number = 0
        for split, rows in self.splits.items():
            names = _read_columns(list(rows.features), self.columns, self.name)
            names = [name for name in names if images or name != "image"]
            stream = rows.select_columns(names)
            if isinstance(stream, Dataset):
                stream = stream.to_iterable_dataset()
            self.label = split
            records = enumerate(stream)
            while True:
                try:
                    with reading_data_set(self.name):
                        index, record = next(records, (0, None))
                except LoadingError as error:
                    raise InputError(f"{self.name}, {split}: {error}") from error
                if record is None:
                    break
                if wanted(number):
                    try:
                        yield self.row(record, number, index, images)
                    except _FaultError as fault:
                        yield Fault(number, f"{self.place(index)}: {fault}")
                number += 1


def _load(name: str, config: str | None) -> dict[str, Dataset | IterableDataset]:
    """The splits of a data set that `load_dataset` knows or `save_to_disk` has written."""
    folder = Path(name)
    if not any((folder / file).is_file() for file in ("state.json", "dataset_dict.json")):
        return dict(load_named(name, config, streaming=True))
    with reading_data_set(name):
        found = load_from_disk(name)
    splits = dict(found) if isinstance(found, DatasetDict) else {str(found.split or "all"): found}
    return {
        split: rows.cast_column("image", Image(decode=False))
        if isinstance(rows.features.get("image"), Image)
        else rows
        for split, rows in splits.items()
    }


# Which form ---------------------------------------------------------------------------------------


_SOURCES: dict[str, type[Source]] = {
    "text": _Text,
    "conll": _Conll,
    "conllu": _Conllu,
    "jsonl": _JsonLines,
    "parquet": _Parquet,
}


def open_source(
    name: str | Path,
    *,
    image_dir: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    config: str | None = None,
    split: str | None = None,
) -> Source:
    """Open sentences of any form.

    Args:
        name: a file; or a data set: a folder or a name on the Hub.
        image_dir: where images are that are given by name; by default the file's folder.
        columns: names of columns, by those of `COLUMNS`, such as `{"text": "content"}`.
        format: one of `FORMATS`; by default told from the file's suffix, else from its content.
        config: which configuration of a data set.
        split: which split of a data set; by default all.

    Raises:
        InputError: if there is nothing that can be read.
    """
    path = Path(name)
    columns = dict(columns or {})
    if format is None:
        format = _format_of(path) if path.is_file() else "dataset"
    if format == "dataset":
        folder = Path(image_dir) if image_dir is not None else path
        return _DataSet(str(name), folder, columns, config, split)
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected one of format {format}")
    for option, value in (("config", config), ("split", split)):
        if value is not None:
            raise InputError(
                f"{path}: {option} {value!r} was given for a file, expected a data set"
            )
    folder = Path(image_dir) if image_dir is not None else path.parent
    return _SOURCES[format](path, folder, columns, path.name.removesuffix(path.suffix))


def _format_of(path: Path) -> str:
    """The format of a file by its suffix, else by its first line that is no comment: text if it is
    no other."""
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
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

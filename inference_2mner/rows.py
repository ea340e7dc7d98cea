"""A sentence to be annotated, and what every source of sentences has in common.

Rows have numbers from 0, faults among them. A source parses the rows that are wanted and passes
over the others, so that a command that is resumed, or that is one of several processes, does little
for rows that are not its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from dataset_mmnerd.files import find_image, is_safe_name
from dataset_mmnerd.image_lists import images_of_row
from dataset_mmnerd.quoting import quoted
from dataset_mmnerd.schema import CONTEXT_COLUMNS

__all__ = ["COLUMNS", "Fault", "InputError", "Row", "RowError", "Source", "fingerprint_of"]

COLUMNS = ("id", "text", "tokens", "lang", "image", *CONTEXT_COLUMNS)
_HEAD_BYTES = 2**20

Record = dict[str, Any]
Wanted = Callable[[int], bool]
OneImage: TypeAlias = str | dict[str, Any] | None


class InputError(ValueError):
    """Sentences that cannot be read at all: where, what was found and what was expected."""


class RowError(ValueError):
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
        image: a path, or `bytes` and `path`; None if there is none; a list for several.
        image_name: the name that the input gives the image; a list for several.
        has_image: whether the input gives it one.
        images_missing: the names of images of which there is no file.
        context: the image's visual context.
    """

    number: int
    place: str
    id: str
    text: str | None
    tokens: list[str] | None
    lang: str | None
    image: OneImage | list[OneImage]
    image_name: str | list[str | None] | None
    has_image: bool
    images_missing: tuple[str, ...]
    context: dict[str, list[str] | None]

    def model_input(self) -> dict[str, Any]:
        """The sentence as the pipeline takes it."""
        content = {"text": self.text} if self.tokens is None else {"words": self.tokens}
        return {**content, "image": self.image, **self.context}

    def record(self) -> Record:
        """The sentence as a result has it (see `outputs.py`), without what the model found."""
        record: Record = {"id": self.id}
        if self.lang is not None:
            record["lang"] = self.lang
        record |= {"text": self.text} if self.tokens is None else {"tokens": self.tokens}
        if self.image_name is not None:
            record["image"] = self.image_name
        return record | {name: texts for name, texts in self.context.items() if texts is not None}

    def without_image(self) -> Row:
        """The same, holding no image."""
        return replace(self, image=None)

    def image_bytes(self) -> bytes | None:
        """The content of a single image, encoded; None without one, or if it cannot be read."""
        if isinstance(self.image, list):
            return None
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

    hint = "; tell another name by --columns, such as text=NAME"
    """What ends the message about a column that is not there."""

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

    def row_or_fault(self, record: Record, number: int, line: int, images: bool) -> Row | Fault:
        """A row of a record that has some of `COLUMNS`, or why there is none."""
        try:
            return self.row(record, number, line, images)
        except RowError as error:
            return self.fault(number, line, error)

    def fault(self, number: int, line: int, error: RowError) -> Fault:
        """A row that cannot be read."""
        return Fault(number, f"{self.place(line)}: {error}")

    def row(self, record: Record, number: int, line: int, images: bool) -> Row:
        """A row of a record that has some of `COLUMNS`; raises `RowError`."""
        if "text" in self.columns:
            record = {**record, "tokens": None}
        record = {**record, **{key: record.get(name) for key, name in self.columns.items()}}
        tokens, text = _strings(record, "tokens"), record.get("text")
        if tokens is None and not isinstance(text, str):
            found = "no 'tokens' and no 'text'" if text is None else f"'text': {quoted(text)}"
            raise RowError(found, "a string 'text' or a list of strings 'tokens'")
        own, lang = record.get("id"), record.get("lang")
        given = record.get("image")
        several = isinstance(given, list)
        each = [self._image(one, images) for one in images_of_row(given)]
        missing = tuple(name for _, name, is_missing in each if is_missing and name is not None)
        paths, names = [path for path, _, _ in each], [name for _, name, _ in each]
        return Row(
            number,
            self.place(line),
            f"{self.label}-{line}" if own is None or own == "" else _name(own),
            text if tokens is None else None,
            tokens,
            lang if isinstance(lang, str) else None,
            paths if several else next(iter(paths), None),
            names if several else next(iter(names), None),
            bool(missing) or any(path is not None for path in paths),
            missing,
            {column: _strings(record, column) for column in CONTEXT_COLUMNS},
        )

    def place(self, line: int) -> str:
        """Where a row is, for messages."""
        return f"{self.path}, line {line}"

    def _image(self, value: Any, wanted: bool) -> tuple[OneImage, str | None, bool]:
        """An image if it is wanted, its name, and whether it is missing."""
        if value is None or value == "":
            return None, None, False
        if isinstance(value, Mapping):
            path = value.get("path")
            if isinstance(value.get("bytes"), bytes):
                shown = Path(path).name if isinstance(path, str) else None
                return {"bytes": value["bytes"], "path": path}, shown, False
            if path is None:
                return None, None, False
            value = path
        if not isinstance(value, str):
            raise RowError(f"'image': {quoted(value)}", "the name of a file, or its content")
        inside = Path(value)
        if inside.is_absolute() and inside.resolve().is_relative_to(self.path.resolve()):
            return value, inside.name, False  # of a folder of images that `datasets` reads
        if not is_safe_name(value):
            raise RowError(f"image {quoted(value)}", "a relative name inside the image folder")
        if not wanted:
            return None, value, False
        found = find_image(value, self.image_dir)
        return None if found is None else str(found), value, found is None


def _strings(record: Record, key: str) -> list[str] | None:
    value = record.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RowError(f"{key!r}: {quoted(value)}", "a list of strings")
    return value


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"'id': {quoted(value)}", "a string or a number")
    return str(value)


def fingerprint_of(paths: Iterable[Path]) -> list[list[Any]]:
    """Of each file its name, size, time and a digest of its first bytes."""
    found = []
    for path in paths:
        status = path.stat()
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
        found.append([path.name, status.st_size, status.st_mtime_ns, head])
    return found

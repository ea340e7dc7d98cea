"""Sentences to be annotated: text, CoNLL, JSON lines, Parquet or a data set, read one at a time.

    source = open_source("posts.jsonl", image_dir="images/")
    for row in source.rows(lambda number: number >= 1000):
        row.model_input()

A row that cannot be read is given as a `Fault`, which says where it is and why, and reading goes
on.

Columns of JSON lines, Parquet and data sets: `text`, or `tokens` (a list of words); and perhaps
`id`, `lang`, `image` (a name below the folder of images; in Parquet and data sets also its content)
and its visual context, lists of strings under `objects`, `captions` and `ocr`. CoNLL files need no
labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .lines import LINE_SOURCES, line_format
from .rows import InputError, Source
from .tables import DataSetSource, ParquetSource

__all__ = ["FORMATS", "open_source", "source_format"]

FORMATS = (*LINE_SOURCES, "parquet", "dataset")
_SOURCES = {**LINE_SOURCES, "parquet": ParquetSource}
_SUFFIXES = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".conllu": "conllu",
    ".iob2": "conllu",
    ".conll": "conll",
}
"""What these suffixes say; files of others are told by their content."""


def source_format(path: Path) -> str:
    """The format of a file by its suffix, else by its content; `dataset` if it is no file."""
    if not path.is_file():
        return "dataset"
    return _SUFFIXES.get(path.suffix.lower()) or line_format(path)


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
    format = format or source_format(path)
    if format == "dataset":
        folder = Path(image_dir) if image_dir is not None else path
        return DataSetSource(str(name), folder, columns, config, split)
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected one of format {format}")
    for option, value in (("config", config), ("split", split)):
        if value is not None:
            raise InputError(
                f"{path}: {option} {value!r} was given for a file, expected a data set"
            )
    folder = Path(image_dir) if image_dir is not None else path.parent
    return _SOURCES[format](path, folder, columns, path.name.removesuffix(path.suffix))

"""Results of `2mner predict`, read again: sentences and their entities, one at a time.

    results = open_results("entities.jsonl")
    for result in results.rows(lambda _: True):
        result.record()

They are JSON lines, a Parquet file or a data set folder (`outputs.py` says what they hold). JSON
lines that were written otherwise need `text` or `tokens`, and `entities` with `label`, `score`,
`start` and `end`. What is not so is an error that names file and line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from dataset_mmnerd.quoting import quoted
from dataset_mmnerd.schema import UNKNOWN_LANGUAGE, entity_types
from modeling_2mner.words_2mner import WORD_RULES

from .inputs import source_format
from .lines import JsonLines
from .outputs import Origin, summary_path
from .rows import Fault, InputError, Record, Row, RowError, Source
from .tables import DataSetSource, ParquetSource

__all__ = ["Result", "open_results", "origin_of", "results_of"]


@dataclass(frozen=True)
class Result(Row):
    """A sentence and its entities, as a record has them."""

    entities: list[Record]

    def record(self) -> Record:
        return {**super().record(), "entities": self.entities}


class _Results(Source):
    """Reads the entities beside the sentence."""

    hint = " of a result of `2mner predict`"

    def row(self, record: Record, number: int, line: int, images: bool) -> Result:
        record = {**record}
        if record.get("text") is not None:
            record["tokens"] = None
        if record.get("lang") == UNKNOWN_LANGUAGE:
            record["lang"] = None
        name = record.get("image_id")
        if record.get("image") is None:
            record["image"] = name
        row = super().row(record, number, line, images)
        row = replace(row, image_name=name or row.image_name)
        return Result(**vars(row), entities=_entities(record.get("entities"), row))


class _ResultLines(_Results, JsonLines):
    pass


class _ResultTable(_Results, ParquetSource):
    pass


class _ResultFolder(_Results, DataSetSource):
    pass


_COLUMNS = {"entities": "entities", "image_id": "image_id"}


def open_results(path: Path, image_dir: Path | None = None) -> Source:
    """Open results of any form; its rows are each a `Result` or a `Fault`.

    Args:
        path: a file or folder.
        image_dir: where images are that are given by name.

    Raises:
        InputError: if there are no results there.
    """
    folder = path.parent if image_dir is None else image_dir
    if not path.exists():
        raise InputError(f"{path}: found nothing there, expected results of `2mner predict`")
    format = source_format(path)
    if format == "jsonl":
        return _ResultLines(path, folder, {}, path.stem)
    if format == "parquet":
        return _ResultTable(path, folder, _COLUMNS, path.stem)
    if format == "dataset":
        return _ResultFolder(str(path), folder, _COLUMNS, None, None)
    raise InputError(
        f"{path}: found the format {format}, which holds no probabilities; expected results of "
        "`2mner predict` as JSON lines, Parquet or a data set folder"
    )


def results_of(source: Source, *, images: bool = False) -> Iterator[Result]:
    """All results of a source.

    Raises:
        InputError: at the first one that cannot be read.
    """
    for row in source.rows(lambda _: True, images=images):
        if isinstance(row, Fault):
            raise InputError(row.message)
        assert isinstance(row, Result)
        yield row


def origin_of(source: Source) -> Origin:
    """What the summary beside some results says of their model; without one, the labels that occur
    and the newest rules for words.

    Raises:
        InputError: if the summary or a result cannot be read.
    """
    path = summary_path(source.path)
    if path.is_file():
        try:
            return Origin(**json.loads(path.read_bytes())["model"])
        except (ValueError, TypeError, KeyError):
            pass  # of another version
    found = (entity["label"] for result in results_of(source) for entity in result.entities)
    types = entity_types(f"B-{label}" for label in sorted(set(found)))
    return Origin([f"B-{name}" for name in types], WORD_RULES)


def _entities(value: Any, row: Row) -> list[Record]:
    """The entities of a sentence, checked."""
    if not isinstance(value, list) or not all(isinstance(entity, Mapping) for entity in value):
        raise RowError(f"'entities': {quoted(value)}", "a list of entities")
    units = row.tokens if row.text is None else row.text
    assert units is not None
    found = [_entity(dict(entity), units) for entity in value]
    last = 0
    for entity in sorted(found, key=lambda entity: entity["start"]):
        if entity["start"] < last:
            raise RowError(f"an entity that overlaps {quoted(entity['text'])}", "separate ones")
        last = entity["end"]
    return found


def _entity(entity: Record, units: list[str] | str) -> Record:
    label, start, end = entity.get("label"), entity.get("start"), entity.get("end")
    if not isinstance(label, str) or label.split() != [label]:
        raise RowError(f"an entity with the label {quoted(label)}", "a word such as 'PER'")
    if not (_is_whole(start) and _is_whole(end) and 0 <= start < end <= len(units)):
        kind = "words" if isinstance(units, list) else "characters"
        raise RowError(
            f"an entity from {quoted(start)} to {quoted(end)}",
            f"{kind} 0 <= start < end <= {len(units)}",
        )
    score = entity.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise RowError(f"an entity with the score {quoted(score)}", "a probability")
    text = units[start:end] if isinstance(units, str) else " ".join(units[start:end])
    own = {"label": label, "score": score, "start": start, "end": end, "text": text}
    details = _details(entity.pop("details", None))
    added = {name: value for name, value in entity.items() if name not in (*own, "word")}
    return {**own, **added, **details}


def _details(value: Any) -> Record:
    """What options added to an entity, which is JSON in a table."""
    try:
        details = {} if value is None else json.loads(value)
    except (ValueError, TypeError, RecursionError):
        details = None
    if not isinstance(details, dict):
        raise RowError(f"an entity with the details {quoted(value)}", "a JSON object")
    return details


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)

"""Annotated sentences as JSON lines, CoNLL, Parquet or a data set folder, as the name says.

    kind = output_kind(Path("entities.parquet"))
    write_output(kind, Path("unfinished"), records, labels=labels, word_rules=1)

A record is what a line of JSON lines holds:

    id, lang        as the input says
    text            or `tokens`: the sentence
    image           the name of its image, if it has one
    image_read      whether the image was read, where there is one
    windows         in how many parts the text was read
    entities        `label`, `score`, `start`, `end`, `text`, and what options add

An entity's `start` and `end` are characters `[start, end)` of `text`, or words of `tokens`. CoNLL,
Parquet and data sets have words: a text is split by the rules of the model. In Parquet and data
sets `ner_tags` are the entities as labels, so that the data set can be trained on; what options add
to an entity is JSON in its field `details`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, List, Value

from dataset_mmnerd.quoting import quoted
from dataset_mmnerd.schema import UNKNOWN_LANGUAGE, bio_labels, entity_types, features
from dataset_mmnerd.shards import ShardWriter
from modeling_2mner.labels_2mner import labels_from_spans
from modeling_2mner.words_2mner import split_into_words

from .rows import Row

__all__ = ["KINDS", "cannot_be_written", "output_kind", "write_output"]

KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".conll": "conll",
    ".txt": "conll",
    "": "folder",
}
_ENTITY = ("label", "score", "start", "end", "text")
_ROWS_OF_A_GROUP = 1000

Record = dict[str, Any]
Records = Iterable[tuple[Record, bytes | None]]


def output_kind(path: Path) -> str:
    """What is written to a path, by its suffix.

    Raises:
        ValueError: if it is none of `KINDS`.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        expected = ", ".join(suffix for suffix in KINDS if suffix)
        raise ValueError(
            f"{path}: found the suffix {quoted(path.suffix)}, expected {expected}, or none for a "
            "data set folder"
        )
    return kind


def cannot_be_written(kind: str, row: Row) -> str | None:
    """Why a sentence has no place in an output of a kind; None if it has."""
    texts = [*(row.tokens or ()), row.image_name or "-"] if kind == "conll" else ()
    wrong = next((text for text in texts if not text or "\t" in text or "\n" in text), None)
    if wrong is None:
        return None
    return f"found {quoted(wrong)}, expected words and names that a CoNLL file can hold"


def words_of(record: Record, word_rules: int) -> tuple[list[str], list[tuple[int, int, str]]]:
    """A record's words, and its entities as words `[start, end)` and type."""
    entities = [(one["start"], one["end"], one["label"]) for one in record["entities"]]
    if "tokens" in record:
        return record["tokens"], entities
    text = record["text"]
    places = split_into_words(text, word_rules)
    first = {start: number for number, (start, _) in enumerate(places)}
    last = {end: number for number, (_, end) in enumerate(places, 1)}
    words = [text[start:end] for start, end in places]
    return words, [(first[start], last[end], label) for start, end, label in entities]


def write_output(
    kind: str, path: Path, records: Records, *, labels: Sequence[str], word_rules: int
) -> None:
    """Write records, with the images of those that go into a folder.

    Args:
        kind: of `KINDS`.
        path: a file, or a folder that is made.
        records: with the content of each one's image, or None.
        labels: the model's.
        word_rules: the model's version of the rules that split texts.
    """
    _WRITERS[kind](path, records, labels, word_rules)


def _write_json_lines(path: Path, records: Records, labels: Sequence[str], rules: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record, _ in records)


def _write_conll(path: Path, records: Records, labels: Sequence[str], rules: int) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record, _ in records:
            words, entities = words_of(record, rules)
            tags = labels_from_spans(entities, len(words))
            if record.get("image") is not None:
                file.write(f"IMGID:{record['image']}\n")
            file.writelines(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))
            file.write("\n")


def _columns(labels: Sequence[str], *, images: bool) -> Features:
    """The columns of Parquet files and data sets."""
    columns = dict(features(bio_labels(entity_types(labels))))
    if not images:
        del columns["image"]
    whole = {"label": "string", "score": "float64", "start": "int32", "end": "int32"}
    texts = {"text": "string", "details": "string"}
    entity = {name: Value(kind) for name, kind in {**whole, **texts}.items()}
    return Features({**columns, "text": Value("string"), "entities": List(entity)})


def _rows(records: Records, rules: int) -> Iterator[tuple[Record, bytes | None]]:
    """Records as rows of such columns, labels by name."""
    for record, image in records:
        words, entities = words_of(record, rules)
        row = {
            "id": record["id"],
            "tokens": words,
            "ner_tags": labels_from_spans(entities, len(words)),
            "lang": record.get("lang") or UNKNOWN_LANGUAGE,
            "image_id": record.get("image"),
            "objects": record.get("objects"),
            "captions": record.get("captions"),
            "ocr": record.get("ocr"),
            "text": record.get("text"),
            "entities": [_entity(one) for one in record["entities"]],
        }
        yield row, image


def _entity(entity: Record) -> Record:
    details = {name: value for name, value in entity.items() if name not in _ENTITY}
    own = {name: entity[name] for name in _ENTITY}
    return {**own, "details": json.dumps(details, ensure_ascii=False) if details else None}


def _write_parquet(path: Path, records: Records, labels: Sequence[str], rules: int) -> None:
    columns = _columns(labels, images=False)
    schema = columns.arrow_schema
    rows = _rows(records, rules)
    ids = {name: number for number, name in enumerate(columns["ner_tags"].feature.names)}
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := [row for row, _ in islice(rows, _ROWS_OF_A_GROUP)]:
            for row in group:
                row["ner_tags"] = [ids[label] for label in row["ner_tags"]]
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _write_folder(path: Path, records: Records, labels: Sequence[str], rules: int) -> None:
    writer = ShardWriter(path / "data", "train", _columns(labels, images=True))
    for row, image in _rows(records, rules):
        writer.add(row, image)
    writer.close()


_WRITERS: dict[str, Callable[[Path, Records, Sequence[str], int], None]] = {
    "jsonl": _write_json_lines,
    "conll": _write_conll,
    "parquet": _write_parquet,
    "folder": _write_folder,
}

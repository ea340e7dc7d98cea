"""Annotated sentences in a form that other programs read, as the output's suffix says.

    kind = output_kind(Path("entities.parquet"))
    replace_output(kind, Path("entities.parquet"), Path("unfinished"), records, origin)

A record is what a line of JSON lines holds:

    id, lang        as the input says
    text            or `tokens`: the sentence
    image           the name of its image, if it has one; a list, if the input has several
    image_read      whether the image was read, where there is one; of several, whether one was
    windows         in how many parts the text was read
    entities        `label`, `score`, `start`, `end`, `text`, and what options add

An entity's `start` and `end` are characters `[start, end)` of `text`, or words of `tokens`. CoNLL,
spaCy, Parquet and data sets have words: a text is split by the rules of the model. In Parquet and
data sets `ner_tags` are the entities as labels, so that the data set can be trained on; what
options add to an entity is JSON in its field `details`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, List, Value

from dataset_mmnerd.files import (
    check_replaceable,
    recover_folder,
    replace_folder,
    written_for,
)
from dataset_mmnerd.quoting import quoted
from dataset_mmnerd.schema import UNKNOWN_LANGUAGE, bio_labels, entity_types, features
from dataset_mmnerd.shards import ShardWriter
from modeling_2mner.labels_2mner import labels_from_spans

from .doc_bins import write_doc_bin
from .extras import needed
from .label_studio import write_tasks
from .parts import CorpusError
from .record_words import words_of
from .rows import Row

__all__ = [
    "KINDS",
    "Origin",
    "cannot_be_written",
    "check_output",
    "output_kind",
    "replace_output",
    "summary_path",
]

KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".conll": "conll",
    ".txt": "conll",
    ".spacy": "spacy",
    ".labelstudio.json": "label_studio",
    "": "folder",
}
_ENTITY = ("label", "score", "start", "end", "text")
_ROWS_OF_A_GROUP = 1000

Record = dict[str, Any]
Records = Iterable[tuple[Record, bytes | None]]


@dataclass(frozen=True)
class Origin:
    """What is to be known of the model that found the entities.

    Attributes:
        labels: its labels.
        word_rules: its version of the rules that split texts.
        version: its name and version, if they are known.
        image_url: what precedes an image's name where it is an address.
    """

    labels: Sequence[str]
    word_rules: int
    version: str | None = None
    image_url: str = ""


def output_kind(path: Path) -> str:
    """What is written to a path, by its suffix.

    Raises:
        ValueError: if it is none of `KINDS`.
    """
    kind = KINDS.get("".join(path.suffixes[-2:]).lower()) or KINDS.get(path.suffix.lower())
    if kind is None:
        expected = ", ".join(suffix for suffix in KINDS if suffix)
        raise ValueError(
            f"{path}: found the suffix {quoted(path.suffix)}, expected {expected}, or none for a "
            "data set folder"
        )
    return kind


def cannot_be_written(kind: str, row: Row) -> str | None:
    """Why a sentence has no place in an output of a kind; None if it has."""
    words = row.tokens or ()
    if isinstance(row.image_name, list) and kind != "jsonl":
        found = f"found a list of {len(row.image_name)} images"
        return f"{found}, expected one image a sentence, or JSON lines as the output"
    if kind == "spacy" and "" in words:
        return "found an empty word, expected words that spaCy can hold"
    texts = [*words, row.image_name or "-"] if kind == "conll" else ()
    wrong = next((text for text in texts if not text or "\t" in text or "\n" in text), None)
    if wrong is None:
        return None
    return f"found {quoted(wrong)}, expected words and names that a CoNLL file can hold"


def summary_path(output: Path) -> Path:
    """Where the summary of an output is."""
    return output.with_name(f"{output.name}.summary.json")


def check_output(output: Path, kind: str, input: Path) -> None:
    """Check that an output can be written.

    Raises:
        CorpusError: if it is or holds the input, or is a folder that this project did not make.
        FileExistsError: if it is an irregular file.
        MissingExtraError: if the library that writes it is not installed.
    """
    if kind == "spacy":
        needed("spacy", "spacy")
    if kind != "folder":
        check_replaceable(output)
    else:
        recover_folder(output)
        if output.exists() and not output.is_dir():
            raise CorpusError(f"{output}: found a file, expected a data set folder or nothing")
        others = {path.name for path in output.iterdir()} - {"data"} if output.is_dir() else set()
        if others:
            raise CorpusError(
                f"{output}: found a folder with {quoted(min(others))} in it, expected a data set "
                "that `predict` made, or nothing"
            )
    if input.exists() and input.resolve().is_relative_to(output.resolve()):
        raise CorpusError(f"{output}: the input {input} is there, expected another place")


def replace_output(
    kind: str, output: Path, unfinished: Path, records: Records, origin: Origin
) -> None:
    """Write an output as a whole, or leave what is there.

    Args:
        kind: of `KINDS`.
        output: a file, or a folder.
        unfinished: a path in the same file system to write to; what is there is deleted.
        records: with the content of each one's image, or None.
        origin: the model.
    """
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    with written_for(output, unfinished):
        _WRITERS[kind](unfinished, records, origin)
        if kind == "folder":
            replace_folder(unfinished, output)
        else:
            unfinished.replace(output)


def _write_json_lines(path: Path, records: Records, origin: Origin) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record, _ in records)


def _write_conll(path: Path, records: Records, origin: Origin) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record, _ in records:
            words, entities = words_of(record, origin.word_rules)
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


def _write_parquet(path: Path, records: Records, origin: Origin) -> None:
    columns = _columns(origin.labels, images=False)
    schema = columns.arrow_schema
    rows = _rows(records, origin.word_rules)
    ids = {name: number for number, name in enumerate(columns["ner_tags"].feature.names)}
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := [row for row, _ in islice(rows, _ROWS_OF_A_GROUP)]:
            for row in group:
                row["ner_tags"] = [ids[label] for label in row["ner_tags"]]
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _write_folder(path: Path, records: Records, origin: Origin) -> None:
    writer = ShardWriter(path / "data", "train", _columns(origin.labels, images=True))
    for row, image in _rows(records, origin.word_rules):
        writer.add(row, image)
    writer.close()


def _write_doc_bin(path: Path, records: Records, origin: Origin) -> None:
    write_doc_bin(path, (record for record, _ in records), origin.word_rules)


def _write_tasks(path: Path, records: Records, origin: Origin) -> None:
    write_tasks(path, (record for record, _ in records), origin.version, origin.image_url)


_WRITERS: dict[str, Callable[[Path, Records, Origin], None]] = {
    "jsonl": _write_json_lines,
    "conll": _write_conll,
    "parquet": _write_parquet,
    "folder": _write_folder,
    "spacy": _write_doc_bin,
    "label_studio": _write_tasks,
}

"""Scoring a model on a data set, with its pictures and with the controls that show what they do.

    results, predictions = evaluate(trainer, dataset, with_controls=True, seed=19)
    results["test"]["overall"]["f1"], results["controls"]["shuffled"]["overall"]["f1"]

Four controls, of the same sentences and the same model: `real`, each sentence with its own
picture; `none`, no pictures; `shuffled`, the picture of another sentence; `blank`, a grey surface
for every picture. A model that reads its pictures is better with `real` than with each of the
others; one that only learned from having them is not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from modeling_2mner.labels_2mner import Span, spans_from_labels

from .metrics import score

if TYPE_CHECKING:
    from .trainer import TwoMNERTrainer

__all__ = [
    "CONTROLS",
    "OtherPictures",
    "Predictions",
    "blank_picture",
    "controls",
    "derangement",
    "evaluate",
    "gold_spans",
    "longest_first",
    "picture_keys",
    "predict",
    "score_rows",
    "spans_from_predictions",
    "write_json",
    "write_lines",
    "write_text",
]

logger = logging.getLogger(__name__)

CONTROLS = ("real", "none", "shuffled", "blank")
BLANK_GREY = 128
BLANK_SIZE = (224, 224)


# Rows ---------------------------------------------------------------------------------------------


def gold_spans(dataset: Dataset) -> list[list[Span]]:
    """The gold entities of each row."""
    names = dataset.features["ner_tags"].feature.names
    return [spans_from_labels([names[tag] for tag in tags]) for tags in dataset["ner_tags"]]


def longest_first(dataset: Dataset) -> list[int]:
    """Row numbers from the longest sentence to the shortest: little padding, and if memory falls
    short it does so at once."""
    lengths = [len(tokens) for tokens in dataset["tokens"]]
    return sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)


def picture_keys(dataset: Dataset) -> list[str | None]:
    """What tells each row's picture from others: a digest of its bytes, else its path; None without
    a picture. `image` must be undecoded."""
    if "image" not in dataset.column_names:
        return [None] * len(dataset)
    return [_picture_key(row["image"]) for row in dataset.select_columns("image")]


def _picture_key(picture: dict[str, Any] | None) -> str | None:
    if picture is None:
        return None
    content = picture.get("bytes")
    return picture["path"] if content is None else hashlib.sha256(content).hexdigest()


def score_rows(
    dataset: Dataset | OtherPictures,
    predicted: Sequence[Sequence[Span]],
    has_picture: Sequence[bool] | None = None,
) -> dict[str, Any]:
    """`metrics.score` of the rows of a data set."""
    if isinstance(dataset, OtherPictures):
        dataset = dataset.rows
    decidable = None
    if "decidable_from_text" in dataset.column_names:
        decidable = dataset["decidable_from_text"][:]
    return score(gold_spans(dataset), predicted, dataset["lang"][:], has_picture, decidable)


# Controls -----------------------------------------------------------------------------------------


class OtherPictures(TorchDataset):
    """A data set with other pictures: the rows are read from it one by one, nothing is copied.

    Args:
        rows: the data set, `image` undecoded.
        source: for each row, the number of the row whose picture it gets, or None for no picture.
        blank: give every row that would have one this picture instead.
    """

    def __init__(
        self, rows: Dataset, source: Sequence[int | None], blank: Image.Image | None = None
    ) -> None:
        self.rows = rows
        self.pictures = rows.select_columns("image")
        self.source = source
        self.blank = blank

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        source = self.source[index]
        if source is None:
            picture = None
        elif self.blank is not None:
            picture = self.blank
        else:
            picture = self.pictures[source]["image"]
        return {**self.rows[index], "image": picture}


def blank_picture() -> Image.Image:
    """A grey surface."""
    return Image.new("RGB", BLANK_SIZE, (BLANK_GREY,) * 3)


def derangement(keys: Sequence[str | None], seed: int) -> list[int | None]:
    """Give every row the picture of another row, and never its own picture by another row.

    The rows with a picture are put in a random order in which equal pictures stand together, and
    every row takes the picture from as many places further on as the commonest picture has rows.
    Every picture is used as often as before.

    Args:
        keys: what tells a row's picture from others; None without a picture.
        seed: of the order.

    Returns:
        For each row, the row whose picture it gets; None where `keys` is None. If one picture is
        that of more than half of the rows, some of them must keep it.
    """
    generator = random.Random(seed)
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(row)
    shuffled = list(groups.values())
    generator.shuffle(shuffled)
    order = [row for group in shuffled for row in generator.sample(group, len(group))]
    shift = max(map(len, shuffled), default=0)
    source: list[int | None] = [None] * len(keys)
    for place, row in enumerate(order):
        source[row] = order[(place + shift) % len(order)]
    return source


def controls(
    rows: Dataset, keys: Sequence[str | None], seed: int
) -> dict[str, Dataset | OtherPictures]:
    """The data set itself as `real`, and as seen under the other controls."""
    shuffled = derangement(keys, seed)
    kept = sum(
        source is not None and keys[source] == key
        for source, key in zip(shuffled, keys, strict=True)
    )
    if kept:
        logger.warning("control `shuffled`: %d rows keep their picture, too few others", kept)
    own = [None if key is None else row for row, key in enumerate(keys)]
    return {
        "real": rows,
        "none": OtherPictures(rows, [None] * len(rows)),
        "shuffled": OtherPictures(rows, shuffled),
        "blank": OtherPictures(rows, own, blank=blank_picture()),
    }


# Predicting and scoring ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """What a model says of each row of a data set, in its order.

    Attributes:
        spans: the entities of each row.
        scores: the probability of each of them.
        read: whether the row's picture was read; False also where there is none.
    """

    spans: list[list[Span]]
    scores: list[list[float]]
    read: list[bool]

    def entities(self, row: int, tokens: Sequence[str]) -> list[dict[str, Any]]:
        """One row's entities as `post_process_entities` gives them."""
        return [
            {**_entity(span, tokens), "score": round(score, 6)}
            for span, score in zip(self.spans[row], self.scores[row], strict=True)
        ]


def _entity(span: Span, tokens: Sequence[str]) -> dict[str, Any]:
    start, end, label = span
    return {"label": label, "start": start, "end": end, "text": " ".join(tokens[start:end])}


def spans_from_predictions(predictions: np.ndarray, labels: Sequence[str]) -> list[list[Span]]:
    """Entities from the label ids of `[B, W]` words, negative beyond a sentence's last word."""
    return [
        spans_from_labels([labels[index] for index in row if index >= 0]) for row in predictions
    ]


def predict(trainer: TwoMNERTrainer, rows: Dataset | OtherPictures) -> Predictions:
    """Predict every row, in the order of the rows."""
    labels, scores, read = trainer.predict(rows).predictions
    spans = spans_from_predictions(labels, trainer.processing_class.labels)
    return Predictions(
        spans=spans,
        scores=[
            [float(row[start]) for start, _, _ in entities]
            for row, entities in zip(scores, spans, strict=True)
        ],
        read=[bool(value) for value in read],
    )


def evaluate(
    trainer: TwoMNERTrainer, dataset: Dataset, with_controls: bool, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score a data set, under all controls if the model reads pictures and there are some.

    Args:
        trainer: holds the model, the processor and the collator.
        dataset: the rows, `image` undecoded.
        with_controls: False scores it as it is only.
        seed: of the shuffled pictures.

    Returns:
        The figures: `test`, as `metrics.score` gives them with `pictures` (given, read,
        unreadable), and `controls` with the same under each control's name (`real` is `test`).
        And one record a row, in the order of `dataset`: `id`, `lang`, `tokens`, `gold`, `predicted`
        and, under `controls`, what was predicted without its own picture.
    """
    order = longest_first(dataset)
    rows = dataset.select(order, keep_in_memory=True)
    keys = picture_keys(rows)
    has_picture = [key is not None for key in keys]
    ways: dict[str, Dataset | OtherPictures] = {"real": rows}
    reads_pictures = trainer.model.config.vision_config is not None
    if with_controls and reads_pictures and any(has_picture):
        ways = controls(rows, keys, seed)
    predictions = {name: predict(trainer, way) for name, way in ways.items()}
    scores = {}
    for name, predicted in predictions.items():
        scores[name] = score_rows(rows, predicted.spans, has_picture)
        if reads_pictures:
            given = 0 if name == "none" else sum(has_picture)
            read = sum(predicted.read)
            scores[name]["pictures"] = {"given": given, "read": read, "unreadable": given - read}
    results = {"test": scores["real"]}
    if len(ways) > 1:
        results["controls"] = scores
    records: list[dict[str, Any]] = [{}] * len(rows)
    gold = gold_spans(rows)
    for place, row in enumerate(rows.select_columns(["id", "lang", "tokens"])):
        tokens = row["tokens"]
        record = {
            **row,
            "gold": [_entity(span, tokens) for span in gold[place]],
            "predicted": predictions["real"].entities(place, tokens),
        }
        if len(ways) > 1 and has_picture[place]:
            record["controls"] = {
                name: predictions[name].entities(place, tokens) for name in CONTROLS[1:]
            }
        records[order[place]] = record
    return results, records


# Files --------------------------------------------------------------------------------------------


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document; a reader sees the old file or the new one, never a part."""
    _write(path, [json.dumps(value, ensure_ascii=False, indent=2)])


def write_text(path: Path, text: str) -> None:
    """Write a text; a reader sees the old file or the new one, never a part."""
    _write(path, [text])


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines; a reader sees the old file or the new one, never a part."""
    _write(path, (json.dumps(record, ensure_ascii=False) for record in records))


def _write(path: Path, lines: Iterable[str]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    unfinished.replace(path)

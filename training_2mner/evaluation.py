"""Scoring a model on a data set, in both views and with the controls that show what images do.

    results, predictions = evaluate(trainer, dataset, with_controls=True, seed=19)
    results["test"]["overall"]["f1"], results["text_view"]["overall"]["f1"]
    results["controls"]["shuffled"]["overall"]["f1"]

Four controls, of the same sentences and the same model: `real`, each sentence with its own
image; `none`, no images, which is the text view; `shuffled`, the image of another sentence;
`blank`, a grey surface for every image. A model that reads its images is better with `real`
than with each of the others; one that only learned from having them is not.

An image comes with the text that was made from it: its visual context goes where it goes, and
there is none of a grey surface. A sentence with visual context and no image is one with a
image, the context being all that is left of it.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from dataset_mmnerd.schema import CONTEXT_COLUMNS
from dataset_mmnerd.shards import image_digest
from modeling_2mner.labels_2mner import Span, spans_from_labels

from .metrics import f1_both_views, score

if TYPE_CHECKING:
    from .trainer import TwoMNERTrainer

__all__ = [
    "CONTROLS",
    "OtherImages",
    "Predictions",
    "blank_image",
    "context_keys",
    "controls",
    "derangement",
    "evaluate",
    "gold_spans",
    "have_images",
    "image_keys",
    "longest_first",
    "predict",
    "score_rows",
    "spans_from_predictions",
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


def image_keys(dataset: Dataset) -> list[str | None]:
    """What tells each row's image from others: a digest of its content, in the row or in a file,
    which is read once; its path if the file cannot be read; None without an image. `image` must be
    undecoded."""
    if "image" not in dataset.column_names:
        return [None] * len(dataset)
    by_path: dict[str, str] = {}
    keys = []
    for row in dataset.select_columns("image"):
        image = row["image"]
        if image is None or image.get("bytes") is not None or image["path"] is None:
            keys.append(image_digest(image))
            continue
        path = image["path"]
        if path not in by_path:
            by_path[path] = image_digest(path) or path
        keys.append(by_path[path])
    return keys


def have_images(dataset: Dataset) -> list[bool]:
    """Whether each row comes with an image, readable or not: its content is not looked at."""
    if "image" not in dataset.column_names:
        return [False] * len(dataset)
    return [
        any(part is not None for part in (row["image"] or {}).values())
        for row in dataset.select_columns("image")
    ]


def context_keys(dataset: Dataset, fields: Sequence[str] = CONTEXT_COLUMNS) -> list[str | None]:
    """What tells each row's visual context from others: all of it, as JSON; None without any.

    Args:
        dataset: the rows.
        fields: the columns that count.
    """
    columns = [column for column in fields if column in dataset.column_names]
    if not columns:
        return [None] * len(dataset)
    return [
        json.dumps(row) if any(row.values()) else None for row in dataset.select_columns(columns)
    ]


def score_rows(
    dataset: Dataset | OtherImages,
    predicted: Sequence[Sequence[Span]],
    has_image: Sequence[bool] | None = None,
) -> dict[str, Any]:
    """`metrics.score` of the rows of a data set."""
    if isinstance(dataset, OtherImages):
        dataset = dataset.rows
    decidable = None
    if "decidable_from_text" in dataset.column_names:
        decidable = dataset["decidable_from_text"][:]
    return score(gold_spans(dataset), predicted, dataset["lang"][:], has_image, decidable)


# Controls -----------------------------------------------------------------------------------------


class OtherImages(TorchDataset):
    """A data set with other images and the visual context of these: the rows are read from it one
    by one, nothing is copied.

    Args:
        rows: the data set, `image` undecoded.
        source: for each row, the number of the row whose image it gets, or None for no image.
        blank: give every row that would have one this image instead, with no context.
    """

    def __init__(
        self, rows: Dataset, source: Sequence[int | None], blank: Image.Image | None = None
    ) -> None:
        self.rows = rows
        columns = ("image", *CONTEXT_COLUMNS)
        self.images = rows.select_columns([key for key in columns if key in rows.column_names])
        self.source = source
        self.blank = blank

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        source = self.source[index]
        image = dict.fromkeys(self.images.column_names)
        if source is not None and self.blank is not None:
            image["image"] = self.blank
        elif source is not None:
            image = self.images[source]
        return {**self.rows[index], **image}


def blank_image() -> Image.Image:
    """A grey surface."""
    return Image.new("RGB", BLANK_SIZE, (BLANK_GREY,) * 3)


def derangement(keys: Sequence[str | None], seed: int) -> list[int | None]:
    """Give every row the image of another row, and never its own image by another row.

    The rows with an image are put in a random order in which equal images stand together, and
    every row takes the image from as many places further on as the commonest image has rows.
    Every image is used as often as before.

    Args:
        keys: what tells a row's image from others; None without an image.
        seed: of the order.

    Returns:
        For each row, the row whose image it gets; None where `keys` is None. If one image is
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
) -> dict[str, Dataset | OtherImages]:
    """The data set itself as `real`, and with other images as `shuffled` and as `blank`.

    Args:
        rows: the data set, `image` undecoded.
        keys: what tells a row's image from others; None without an image.
        seed: of the shuffling.
    """
    shuffled = derangement(keys, seed)
    kept = sum(
        source is not None and keys[source] == key
        for source, key in zip(shuffled, keys, strict=True)
    )
    if kept:
        logger.warning("control `shuffled`: %d rows keep their image, too few others", kept)
    own = [None if key is None else row for row, key in enumerate(keys)]
    return {
        "real": rows,
        "shuffled": OtherImages(rows, shuffled),
        "blank": OtherImages(rows, own, blank=blank_image()),
    }


# Predicting and scoring ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """What a model says of each row of a data set, in its order.

    Attributes:
        spans: the entities of each row.
        scores: the probability of each of them.
        read: whether the row's image or its visual context was read; False also where there is
            neither.
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


def predict(trainer: TwoMNERTrainer, rows: Dataset | OtherImages) -> dict[str, Predictions]:
    """Predict every row, in the order of the rows.

    Returns:
        `image_text`, what the model says of the rows as they are; and `text`, what it says of their
        words alone, unless the model reads nothing else or the rows have others' images.
    """
    labels, scores, read, *text_view = trainer.predict(rows).predictions
    names = trainer.processing_class.labels
    predictions = {"image_text": _predictions(labels, scores, read, names)}
    if text_view:
        predictions["text"] = _predictions(*text_view, np.zeros_like(read), names)
    return predictions


def _predictions(
    labels: np.ndarray, scores: np.ndarray, read: np.ndarray, names: Sequence[str]
) -> Predictions:
    """From `[B, W]` label ids, `[B, W]` entity scores and `[B]` whether an image was read."""
    spans = spans_from_predictions(labels, names)
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
    """Score a data set: in both views if the model reads images or visual context, and under all
    controls if there are some.

    Args:
        trainer: holds the model, the processor and the collator.
        dataset: the rows, `image` undecoded.
        with_controls: False scores it as it is only.
        seed: of the shuffled images.

    Returns:
        The figures: `test`, as `metrics.score` gives them with `images` (given, read,
        unreadable); `text_view`, the same of the words alone, and `f1_both_views`; and `controls`
        with the same under each control's name (`real` is `test`, `none` is `text_view`).
        And one record a row, in the order of `dataset`: `id`, `lang`, `tokens`, `gold`, `predicted`
        and, under `controls`, what was predicted without its own image.
    """
    order = longest_first(dataset)
    rows = dataset.select(order, keep_in_memory=True)
    keys = _keys_of_what_is_read(trainer, rows)
    predictions = _predict_all(trainer, rows, keys, with_controls, seed)
    has_image = [
        image or context is not None
        for image, context in zip(have_images(rows), context_keys(rows), strict=True)
    ]
    scores = {}
    for name, predicted in predictions.items():
        scores[name] = score_rows(rows, predicted.spans, has_image)
        if "none" in predictions:
            given = 0 if name == "none" else sum(key is not None for key in keys)
            read = sum(predicted.read)
            scores[name]["images"] = {"given": given, "read": read, "unreadable": given - read}
    results: dict[str, Any] = {"test": scores["real"]}
    if "none" in scores:
        results["text_view"] = scores["none"]
        results["f1_both_views"] = f1_both_views(scores["real"], scores["none"])
    has_controls = set(scores) == set(CONTROLS)
    if has_controls:
        results["controls"] = {name: scores[name] for name in CONTROLS}
    records: list[dict[str, Any]] = [{}] * len(rows)
    gold = gold_spans(rows)
    for place, row in enumerate(rows.select_columns(["id", "lang", "tokens"])):
        tokens = row["tokens"]
        record = {
            **row,
            "gold": [_entity(span, tokens) for span in gold[place]],
            "predicted": predictions["real"].entities(place, tokens),
        }
        if has_controls and keys[place] is not None:
            record["controls"] = {
                name: predictions[name].entities(place, tokens) for name in CONTROLS[1:]
            }
        records[order[place]] = record
    return results, records


def _keys_of_what_is_read(trainer: TwoMNERTrainer, rows: Dataset) -> list[str | None]:
    """What tells the images apart that the model can read of each row: itself, else what was made
    from it; None where there is nothing."""
    processor = trainer.processing_class
    keys: list[str | None] = [None] * len(rows)
    if processor.reads_context:
        keys = context_keys(rows, processor.context_fields)
    if processor.reads_images:
        keys = [own or other for own, other in zip(image_keys(rows), keys, strict=True)]
    return keys


def _predict_all(
    trainer: TwoMNERTrainer,
    rows: Dataset,
    keys: Sequence[str | None],
    with_controls: bool,
    seed: int,
) -> dict[str, Predictions]:
    """What the model says by the controls' names: of the rows as they are, `real`; if it reads more
    than words, of these alone, `none`, from the same pass; and the others, if they are wanted."""
    views = predict(trainer, rows)
    predictions = {"real": views["image_text"]}
    if "text" in views:
        predictions["none"] = views["text"]
    if with_controls and any(key is not None for key in keys):
        ways = controls(rows, keys, seed)
        predictions |= {
            name: predict(trainer, way)["image_text"]
            for name, way in ways.items()
            if name != "real"
        }
    return predictions

"""Scores of a trained model on a data set: in both views, and with the image controls.

results, predictions = evaluate(trainer, dataset, with_controls=True, seed=19)
results["test"]["overall"]["f1"], results["text_view"]["overall"]["f1"]
results["controls"]["shuffled"]["overall"]["f1"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from transformers.trainer_utils import PredictionOutput

from modeling_2mner import TwoMNERProcessor
from modeling_2mner.labels_2mner import Span, spans_from_labels

from .controls import CONTROLS, OtherImages, controls
from .data import context_keys, gold_spans, have_images, image_keys, longest_first
from .metrics import f1_both_views, score

__all__ = [
    "Predictions",
    "evaluate",
    "keys_of_what_is_read",
    "predict",
    "score_rows",
    "spans_from_predictions",
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


class Predictor(Protocol):
    """The part of `TwoMNERTrainer` that is used here."""

    processing_class: TwoMNERProcessor

    def predict(self, test_dataset: TorchDataset, /) -> PredictionOutput: ...


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for each row of a data set, in its order.

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


def predict(trainer: Predictor, rows: Dataset | OtherImages) -> dict[str, Predictions]:
    """Predict every row, in the order of the rows.

    Returns:
        `image_text`: the predictions for the rows as they are. `text`: those for the words alone,
        unless the model reads nothing else or the rows are `OtherImages`.
    """
    labels, scores, read, *text_view = cast(tuple[Any, ...], trainer.predict(rows).predictions)
    names = trainer.processing_class.labels
    predictions = {"image_text": _predictions(labels, scores, read, names)}
    if text_view:
        predictions["text"] = _predictions(text_view[0], text_view[1], np.zeros_like(read), names)
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
    trainer: Predictor, dataset: Dataset, with_controls: bool, seed: int
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
    keys = keys_of_what_is_read(trainer.processing_class, rows)
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


def keys_of_what_is_read(processor: TwoMNERProcessor, rows: Dataset) -> list[str | None]:
    """A key for what the model reads beside each row's words: its image, else its visual context;
    None without either."""
    keys: list[str | None] = [None] * len(rows)
    if processor.reads_context:
        keys = context_keys(rows, processor.context_fields)
    if processor.reads_images:
        keys = [own or other for own, other in zip(image_keys(rows), keys, strict=True)]
    return keys


def _predict_all(
    trainer: Predictor,
    rows: Dataset,
    keys: Sequence[str | None],
    with_controls: bool,
    seed: int,
) -> dict[str, Predictions]:
    """Predictions by control: `real`; `none` from the same pass, if the model reads more than
    words; and the others with `with_controls`."""
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

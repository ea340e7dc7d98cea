"""When to read the image: never, always, or only where the words alone leave the model in doubt.

The third reads a sentence's image where its *confidence* in the text view is below a threshold: the
least probability of its predicted entities and, for words outside of them, of no entity. The
threshold is the one with the best F1 on the validation part; of several that of the fewest images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from modeling_2mner.labels_2mner import Span
from reporting_2mner.statistics import f1, sentence_counts

from ..data import gold_spans, longest_first
from ..evaluation import keys_of_what_is_read, spans_from_predictions
from .trained import Trained

__all__ = ["choose_threshold", "measure"]


def measure(trained: Trained, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read the test part in each of the three ways.

    Returns:
        Under `text`, `image` and `gate`: `counts`, of each sentence the entities that are right,
        predicted, and to be found; and `entities`, of each sentence the probability of each
        predicted entity and whether it is right. Further `has_image` and `read`, which sentences
        have one and which the gate reads, and the `threshold`. A model that reads words alone has
        `text` alone. Sentences are ordered by length.

    Raises:
        RecipeError: if there is no validation part.
    """
    test = _Views.of(trained, trained.rows)
    found: dict[str, Any] = {"text": test.described(test.text)}
    processor = trained.processor
    if not (processor.reads_images or processor.reads_context):
        return found
    validation = _Views.of(trained, trained.validation)
    threshold = choose_threshold(
        validation.confidence,
        validation.has_image,
        sentence_counts(validation.gold, validation.text.spans),
        sentence_counts(validation.gold, validation.image.spans),
    )
    read = test.has_image & (test.confidence < threshold)
    gate = _Reading(
        *(
            [image if chosen else text for image, text, chosen in zip(*views, read, strict=True)]
            for views in (
                (test.image.spans, test.text.spans),
                (test.image.scores, test.text.scores),
            )
        )
    )
    return {
        **found,
        "image": test.described(test.image),
        "gate": test.described(gate),
        "has_image": test.has_image.tolist(),
        "read": read.tolist(),
        "threshold": round(threshold, 6),
    }


def choose_threshold(
    confidence: np.ndarray, has_image: np.ndarray, text: np.ndarray, image: np.ndarray
) -> float:
    """The threshold on the confidence below which reading the image gives the best F1; of several,
    that of the fewest images.

    Args:
        confidence: `[n]`, of each sentence in the text view.
        has_image: `[n]` bool.
        text, image: `[n, 3]`, counts of the two views.

    Returns:
        0, at which no image is read, or a number just above a sentence's confidence.
    """
    order = np.argsort(confidence, kind="stable")
    order = order[has_image[order]]
    gains = np.vstack([np.zeros((1, 3), dtype=text.dtype), (image - text)[order]]).cumsum(axis=0)
    scores = f1(text.sum(axis=0) + gains)  # of reading the images of the first 0, 1, ... sentences
    sure = confidence[order]
    # Sentences of the same confidence are read together.
    possible = np.append(True, np.append(sure[1:] != sure[:-1], True) if len(sure) else [])
    best = int(np.argmax(np.where(possible, scores, -1)))
    return float(np.nextafter(sure[best - 1], 2)) if best else 0.0


@dataclass(frozen=True)
class _Reading:
    """What is predicted for each sentence: entities, and the probability of each."""

    spans: list[list[Span]]
    scores: list[list[float]]


@dataclass(frozen=True)
class _Views:
    """Both views of some rows, ordered by length.

    Attributes:
        gold: the entities of each.
        text, image: what is predicted in each view.
        confidence: `[n]`, in the text view.
        has_image: `[n]` bool, whether there is anything to read beside the words.
    """

    gold: list[list[Span]]
    text: _Reading
    image: _Reading
    confidence: np.ndarray
    has_image: np.ndarray

    @classmethod
    def of(cls, trained: Trained, rows: Dataset) -> _Views:
        rows = rows.select(longest_first(rows), keep_in_memory=True)
        keys = keys_of_what_is_read(trained.processor, rows)
        text, confidence = _read(trained, rows, "text")
        image = text
        if any(key is not None for key in keys):
            image, _ = _read(trained, rows, "image_text")
        has_image = np.array([key is not None for key in keys], dtype=bool)
        return cls(gold_spans(rows), text, image, np.array(confidence), has_image)

    def described(self, reading: _Reading) -> dict[str, Any]:
        """Counts and scored entities, for JSON."""
        return {
            "counts": sentence_counts(self.gold, reading.spans).tolist(),
            "entities": [
                [[round(score, 6), span in gold] for span, score in zip(*one, strict=True)]
                for gold, *one in zip(self.gold, reading.spans, reading.scores, strict=True)
            ],
        }


def _read(trained: Trained, rows: Dataset, view: str) -> tuple[_Reading, list[float]]:
    """What is predicted in a view, and how sure the model is of each sentence."""
    labels = trained.processor.labels
    outside = labels.index("O")
    spans: list[list[Span]] = []
    scores: list[list[float]] = []
    confidence: list[float] = []
    for inputs, outputs in trained.outputs(rows, view):
        found = spans_from_predictions(outputs.predictions.cpu().numpy(), labels)
        probabilities = outputs.entity_scores.tolist()
        nothing = outputs.marginals[..., outside].tolist()
        for row, words in enumerate(inputs["word_mask"].sum(1).tolist()):
            own = [probabilities[row][start] for start, _, _ in found[row]]
            inside = {word for start, end, _ in found[row] for word in range(start, end)}
            others = [nothing[row][word] for word in range(words) if word not in inside]
            confidence.append(min([*own, *others], default=1.0))
            spans.append(found[row])
            scores.append(own)
    return _Reading(spans, scores), confidence

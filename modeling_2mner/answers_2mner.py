"""The answers of the pipeline: what was found in a sentence, as dictionaries with offsets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .inputs_2mner import Sentence
from .thresholds_2mner import Limits

__all__ = ["ScoredSpan", "details_of", "entities_of", "labelled_words_of", "shares_of_images"]

SURE = 0.5
"""The probability of a type in the text view from which on the text alone determines the type."""


@dataclass
class ScoredSpan:
    """An entity or a candidate.

    Attributes:
        start, end: its words `[start, end)`.
        label: its type.
        score: the probability of exactly this entity.
        by_type: the probability of each type over these words.
        by_type_in_text: the same in the text view, if that differs.
        images: the share of each of several images in the attention of its words.
    """

    start: int
    end: int
    label: str
    score: float
    by_type: list[float] | None = None
    by_type_in_text: list[float] | None = None
    images: list[float] | None = None


def entities_of(
    sentence: Sentence,
    spans: Sequence[ScoredSpan],
    types: Sequence[str],
    limits: Limits | None,
    top_k: int | None,
) -> list[dict[str, Any]]:
    """The entities of a sentence.

    Args:
        sentence: which.
        spans: its entities or scored candidates.
        types: the model's, in the order of the scores by type.
        limits: thresholds; None keeps all.
        top_k: how many alternatives an entity has; None gives none.
    """
    entities = [_entity(sentence, span, types, limits or Limits({}), top_k) for span in spans]
    return [one for one in entities if limits is None or limits.passes(one["score"], one["label"])]


def _entity(
    sentence: Sentence, span: ScoredSpan, types: Sequence[str], limits: Limits, top_k: int | None
) -> dict[str, Any]:
    entity = {"label": span.label, "score": limits.calibrated(span.score, span.label)}
    entity |= _place(sentence, span.start, span.end)
    if top_k is not None and span.by_type is not None:
        ranked = sorted(zip(span.by_type, types, strict=True), key=lambda pair: -pair[0])
        entity["alternatives"] = [
            {"label": name, "score": limits.calibrated(score, name)}
            for score, name in ranked[:top_k]
        ]
    if span.by_type_in_text is not None:
        own = span.by_type_in_text[types.index(span.label)]
        entity["score_without_image"] = limits.calibrated(own, span.label)
        most = max(span.by_type_in_text)
        agrees = "text" if own == most else "disagree"
        entity["typed_from"] = agrees if most >= SURE else "image"
    if span.images is not None:
        entity["images"] = span.images
    return entity


def labelled_words_of(
    sentence: Sentence, labels: Sequence[tuple[str, float]]
) -> list[dict[str, Any]]:
    """The words of a sentence whose label is not `O`.

    Args:
        sentence: which.
        labels: the label of each word and its probability.
    """
    return [
        {"entity": label, "score": score, "index": index} | _place(sentence, index, index + 1)
        for index, (label, score) in enumerate(labels)
        if label != "O"
    ]


def details_of(sentence: Sentence, found: list[dict[str, Any]]) -> dict[str, Any]:
    """What was found in a sentence, and how it was read."""
    return {
        "entities": found,
        "windows": len(sentence.encoded.windows),
        "image": sentence.image_state,
        "image_error": sentence.image_error,
    }


def shares_of_images(words: Sequence[dict[str, Any]]) -> list[float] | None:
    """The share of each of several images in the attention of some words, as `attention_of` gives
    them; None without a word.
    """
    shares = zip(*(word["images"] for word in words), strict=True)
    return [round(sum(own) / len(words), 6) for own in shares] or None


def _place(sentence: Sentence, first: int, last: int) -> dict[str, Any]:
    """Words `[first, last)` as characters of the text."""
    start, end = sentence.words[first][0], sentence.words[last - 1][1]
    return {"word": sentence.text[start:end], "start": start, "end": end}

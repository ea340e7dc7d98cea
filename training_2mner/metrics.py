"""Exact-span scores: pure functions of entities, without model, tensor or data set.

An entity is correct if its first word, its last word and its type are: the semantics of `seqeval`
with `mode="strict"` and `scheme=IOB2`, with which the tests compare this module. All
figures are fractions in [0, 1]; a fraction of nothing (no entity to find, none predicted) is 0.

    gold = [[(0, 2, "PER")], [(3, 4, "LOC")]]
    predicted = [[(0, 2, "PER")], [(3, 4, "ORG")]]
    score(gold, predicted)["overall"]["f1"]      # 0.5
    score(gold, predicted)["boundaries"]["f1"]   # 1.0
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only here: this file also travels by itself, as a part of `metrics/mmner`.
    from modeling_2mner.labels_2mner import Span

__all__ = ["Counts", "count_matches", "f1_both_views", "score", "summary"]


@dataclass(frozen=True)
class Counts:
    """Numbers of gold entities, predicted entities, and predicted entities that are correct."""

    correct: int = 0
    predicted: int = 0
    gold: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.correct + other.correct, self.predicted + other.predicted, self.gold + other.gold
        )

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        found = self.predicted + self.gold
        return 2 * self.correct / found if found else 0.0

    def figures(self) -> dict[str, float | int]:
        """The three scores and what they were computed from."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            **asdict(self),
        }


def count_matches(gold: Iterable[Hashable], predicted: Iterable[Hashable]) -> Counts:
    """Count the items that two collections share; equal items count once."""
    gold, predicted = set(gold), set(predicted)
    return Counts(len(gold & predicted), len(predicted), len(gold))


def score(
    gold: Sequence[Sequence[Span]],
    predicted: Sequence[Sequence[Span]],
    languages: Sequence[str] | None = None,
    has_image: Sequence[bool] | None = None,
    decidable_from_text: Sequence[bool] | None = None,
) -> dict[str, Any]:
    """Score the entities of many sentences.

    Args:
        gold: the entities of each sentence, as (first word, word after the last, type).
        predicted: the same, as predicted.
        languages: each sentence's language; None leaves `by_language` out.
        has_image: whether each sentence comes with an image; None leaves `by_image` out.
        decidable_from_text: False where only the image says of what type a sentence's entities
            are; None, or no such sentence, leaves `image_decided` out.

    Returns:
        `overall` (micro average), `by_language`, `mean_over_languages`, `by_type`, `boundaries`
        (types ignored), `by_image` (`with` and `without`), each of `Counts.figures`; and
        `image_decided`, whose `accuracy` is the fraction of the entities that only an image can
        type for which an entity of the same words and the same type was predicted. An entity whose
        boundaries were missed counts as wrong: no model gains by staying silent.

    Raises:
        ValueError: if the sequences differ in length.
    """
    columns = {
        "predicted": predicted,
        "languages": languages,
        "has_image": has_image,
        "decidable_from_text": decidable_from_text,
    }
    for name, column in columns.items():
        if column is not None and len(column) != len(gold):
            expected = f"expected one for each of {len(gold)} sentences"
            raise ValueError(f"`{name}` has {len(column)} entries, {expected}")
    matches = [count_matches(*pair) for pair in zip(gold, predicted, strict=True)]
    scores: dict[str, Any] = {"overall": sum(matches, Counts()).figures()}
    if languages is not None:
        by_language = _totals(languages, matches)
        scores["by_language"] = by_language
        scores["mean_over_languages"] = {
            key: sum(figures[key] for figures in by_language.values()) / max(len(by_language), 1)
            for key in ("precision", "recall", "f1")
        }
    scores["by_type"] = _by_type(gold, predicted)
    scores["boundaries"] = sum(
        (
            count_matches(((start, end) for start, end, _ in right), ((s, e) for s, e, _ in said))
            for right, said in zip(gold, predicted, strict=True)
        ),
        Counts(),
    ).figures()
    if has_image is not None:
        groups = ["with" if has else "without" for has in has_image]
        scores["by_image"] = _totals(groups, matches)
    if decidable_from_text is not None and not all(decidable_from_text):
        decided = sum(
            (match for match, text in zip(matches, decidable_from_text, strict=True) if not text),
            Counts(),
        )
        scores["image_decided"] = {
            "accuracy": decided.recall,
            "correct": decided.correct,
            "entities": decided.gold,
        }
    return scores


def f1_both_views(scores: dict[str, Any], text_view: dict[str, Any]) -> float:
    """The mean F1 of the sentences read with their images and read alone, as ITA chooses by."""
    return float(scores["overall"]["f1"] + text_view["overall"]["f1"]) / 2


def summary(scores: dict[str, Any], text_view: dict[str, Any] | None = None) -> dict[str, float]:
    """The flat figures that a training log shows: `f1`, `f1_de`, `image_decided_accuracy`, and
    `f1_both_views`; with the scores of the text view besides `f1_text_view`."""
    flat = {key: scores["overall"][key] for key in ("precision", "recall", "f1")}
    for language, figures in scores.get("by_language", {}).items():
        flat[f"f1_{language}"] = figures["f1"]
    if "image_decided" in scores:
        flat["image_decided_accuracy"] = scores["image_decided"]["accuracy"]
    if text_view is not None:
        flat["f1_text_view"] = text_view["overall"]["f1"]
    flat["f1_both_views"] = f1_both_views(scores, scores if text_view is None else text_view)
    return flat


def _totals(groups: Sequence[str], matches: Sequence[Counts]) -> dict[str, dict[str, float | int]]:
    totals: defaultdict[str, Counts] = defaultdict(Counts)
    for group, match in zip(groups, matches, strict=True):
        totals[group] += match
    return {group: totals[group].figures() for group in sorted(totals)}


def _by_type(
    gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]
) -> dict[str, dict[str, float | int]]:
    types = {entity[2] for entities in (*gold, *predicted) for entity in entities}
    return {
        name: sum(
            (
                count_matches(_of_type(right, name), _of_type(said, name))
                for right, said in zip(gold, predicted, strict=True)
            ),
            Counts(),
        ).figures()
        for name in sorted(types)
    }


def _of_type(entities: Sequence[Span], name: str) -> list[Span]:
    return [entity for entity in entities if entity[2] == name]

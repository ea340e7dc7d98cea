"""Temperatures and thresholds for the probabilities of predicted entities: numpy alone, no model.

    scored = Scored.of(records)
    fitted = fit_thresholds(scored, confidence=0.9)
    fitted["temperature"], fitted["precision"]["0.95"], fitted["risk"]["0.05"]

A predicted entity is right if a gold entity has the same words and the same type. Three things are
fitted on predicted entities of labelled sentences:

* **temperature**: the calibrated score of an entity is `sigmoid(logit(score) / T)`. `T` minimises
  the negative log-likelihood of "right" and "wrong".
* **precision**: the lowest threshold on the calibrated score at which the entities returned have
  the wanted precision. It is an estimate: other sentences have that precision on average.
* **risk**: the lowest threshold at which the share of wrong entities among those returned is
  certified to be at most `alpha`. It is a guarantee: over draws of the labelled sentences the
  certified threshold has a larger risk with a probability of at most `1 - confidence`, if later
  sentences come from the same distribution.

Risk is controlled by Learn then Test (Angelopoulos et al., arXiv 2110.01052). A fixed sequence of
thresholds on the uncalibrated score is tested from the highest down; the first one that is not
certified ends the sequence. The sequence begins where enough entities are returned to certify
anything, which depends on the scores alone and not on which entities are right. The p-value of a
threshold is the larger of two: the binomial tail, which is exact if entities are independent, and
the normal bound of the mean over sentences of `wrong - alpha * returned`, which allows for entities
of one sentence that depend on each other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "ALPHAS",
    "CONFIDENCE",
    "NONE_RETURNED",
    "PRECISIONS",
    "VERSION",
    "Scored",
    "binomial_tail",
    "calibrate",
    "certified_logit",
    "expected_calibration_error",
    "fit_temperature",
    "fit_thresholds",
    "logits",
    "lowest_threshold",
    "returned",
    "sigmoid",
]

ByType = dict[str, float]

VERSION = 1
PRECISIONS = (0.8, 0.85, 0.9, 0.95, 0.99)
ALPHAS = (0.01, 0.05, 0.1)
CONFIDENCE = 0.9
LEAST_ENTITIES = 100
"""Predicted entities that a type needs for a temperature and thresholds of its own."""

LEAST_SCORE = 1e-6
"""Scores are cut to `[1e-6, 1 - 1e-6]` before their logits are taken."""

NONE_RETURNED = 2.0
"""A threshold that no score reaches."""

TEMPERATURES = (0.05, 20.0)
BINS = 15
LOGITS = np.append(np.arange(138, -139, -1) / 10, -np.inf)
"""The thresholds tested for risk, from the highest: the last one returns every entity."""

START = 4
"""The first threshold tested returns so many times the fewest entities with which no wrong one
certifies anything: a single wrong entity among few would end the sequence."""


# Entities -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """The `E` predicted entities of `S` sentences, and which of them are right.

    Attributes:
        sentence: `[E]`, the number of the sentence that each is in.
        label: `[E]`, types.
        score: `[E]`, the model's probability of each.
        right: `[E]`, whether a gold entity has the same words and type.
        sentences: `S`.
        gold: how many gold entities of each type there are.
    """

    sentence: np.ndarray
    label: np.ndarray
    score: np.ndarray
    right: np.ndarray
    sentences: int
    gold: Mapping[str, int]

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> Scored:
        """From sentences with `gold` and `predicted` entities, as in `predictions.jsonl`."""
        entities: list[tuple[int, str, float, bool]] = []
        gold: Counter[str] = Counter()
        sentences = 0
        for number, record in enumerate(records):
            sentences += 1
            known = {(one["start"], one["end"], one["label"]) for one in record["gold"]}
            gold.update(label for _, _, label in known)
            entities += (
                (
                    number,
                    one["label"],
                    one["score"],
                    (one["start"], one["end"], one["label"]) in known,
                )
                for one in record["predicted"]
            )
        sentence, label, score, right = zip(*entities, strict=True) if entities else ((),) * 4
        return cls(
            np.array(sentence, np.int64),
            np.array(label, np.str_),
            np.array(score, np.float64),
            np.array(right, np.bool_),
            sentences,
            gold,
        )

    def of_type(self, label: str) -> Scored:
        """The entities of one type alone; all for `""`."""
        if not label:
            return self
        chosen = self.label == label
        return Scored(
            self.sentence[chosen],
            self.label[chosen],
            self.score[chosen],
            self.right[chosen],
            self.sentences,
            {label: self.gold.get(label, 0)},
        )

    def types_of_their_own(self) -> list[str]:
        """The types with enough predicted entities to be fitted alone."""
        types, counts = np.unique(self.label, return_counts=True)
        return types[counts >= LEAST_ENTITIES].tolist()


def logits(scores: np.ndarray) -> np.ndarray:
    """The logits of probabilities."""
    scores = np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)
    return np.log(scores) - np.log1p(-scores)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -values))


# Calibration --------------------------------------------------------------------------------------


def fit_temperature(scores: np.ndarray, right: np.ndarray) -> float:
    """The temperature that minimises the negative log-likelihood, within `TEMPERATURES`; 1 where
    there is nothing to fit."""
    signed = np.where(right, 1.0, -1.0) * logits(scores)
    if not len(signed):
        return 1.0
    # The likelihood is convex in 1 / T: its slope crosses zero at most once.
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(60):
        middle = math.sqrt(low * high)
        slope = -np.sum(signed * sigmoid(-middle * signed))
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


def calibrate(
    scores: np.ndarray, labels: Sequence[str] | np.ndarray, temperature: Mapping[str, float]
) -> np.ndarray:
    """Calibrated scores `[E]`: `sigmoid(logit(score) / T)`, with each type's own temperature, or
    that of `""`."""
    own = np.array([temperature.get(str(label), temperature[""]) for label in labels])
    return sigmoid(logits(np.asarray(scores, np.float64)) / own) if len(own) else np.zeros(0)


def expected_calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """The mean difference of score and share of right entities over `BINS` bins of equal width,
    weighted by their entities; 0 without entities."""
    if not len(scores):
        return 0.0
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    differences = np.bincount(bins, scores - right, BINS)
    return float(np.abs(differences).sum() / len(scores))


# Thresholds ---------------------------------------------------------------------------------------


def lowest_threshold(scores: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """The lowest threshold at which the entities returned have a precision; None if none has.

    It lies half-way between two scores, so that it does not depend on rounding; 0 returns all.
    """
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    shares = np.cumsum(right) / np.arange(1, len(right) + 1)
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    (reached,) = np.nonzero((shares >= precision) & last_of_ties[: len(shares)])
    if not len(reached):
        return None
    place = reached[-1]
    if place + 1 == len(scores):
        return 0.0
    return float((scores[place] + scores[place + 1]) / 2)


def binomial_tail(wrong: int, entities: int, alpha: float) -> float:
    """The probability of at most `wrong` of `entities` independent ones if each is wrong with
    probability `alpha`."""
    counts = np.arange(wrong)
    steps = np.log(entities - counts) - np.log(counts + 1) + math.log(alpha) - math.log1p(-alpha)
    terms = entities * math.log1p(-alpha) + np.append(0.0, np.cumsum(steps))
    return float(min(1.0, np.exp(np.logaddexp.reduce(terms))))


def p_value(scored: Scored, chosen: np.ndarray, alpha: float) -> float:
    """How likely so few wrong entities are if the risk of returning the chosen ones is over
    `alpha`: the larger of the two bounds (see the module)."""
    entities = int(chosen.sum())
    wrong = chosen & ~scored.right
    excess = np.bincount(scored.sentence, wrong - alpha * chosen, scored.sentences)
    error = excess.std() / math.sqrt(len(excess))
    clustered = 0.0 if error == 0 else 0.5 * math.erfc(-excess.mean() / error / math.sqrt(2))
    return max(clustered, binomial_tail(int(wrong.sum()), entities, alpha))


def certified_logit(scored: Scored, alpha: float, confidence: float) -> float | None:
    """The lowest threshold on the logit of the uncalibrated score whose risk is certified.

    Args:
        scored: labelled sentences.
        alpha: the largest share of wrong entities among those returned.
        confidence: the probability, over draws of the sentences, that the risk is at most `alpha`.

    Returns:
        `-inf` if all entities may be returned; None if no threshold is certified.
    """
    values = logits(scored.score)
    fewest = math.log(1 - confidence) / math.log1p(-alpha)
    enough = min(math.ceil(START * fewest), len(values))
    certified = None
    for threshold in LOGITS:
        chosen = values >= threshold
        if not enough or chosen.sum() < enough:
            continue
        if p_value(scored, chosen, alpha) > 1 - confidence:
            break
        certified = float(threshold)
    return certified


def fit_thresholds(
    scored: Scored,
    *,
    precisions: Sequence[float] = PRECISIONS,
    alphas: Sequence[float] = ALPHAS,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Fit temperatures and thresholds.

    Args:
        scored: predicted entities of labelled sentences that the model was not trained on.
        precisions: wanted precisions.
        alphas: largest shares of wrong entities.
        confidence: of the guarantees for `alphas`.

    Returns:
        What `thresholds.json` holds: `temperature` by type; `precision`, by wanted precision and
        type; `risk`, by alpha and type. Thresholds are on the calibrated score; `""` is for the
        types without an entry. A precision that is not reached, or a risk that is not certified,
        is None; one that a type alone does not reach is `NONE_RETURNED` there. All thresholds of
        one alpha are one threshold on the uncalibrated score.

    Raises:
        ValueError: if there is no entity, or a wanted value is not between 0 and 1.
    """
    for name, values in (
        ("precision", precisions),
        ("alpha", alphas),
        ("confidence", (confidence,)),
    ):
        for value in values:
            if not 0 < value < 1:
                raise ValueError(f"{name} is {value!r}, expected a number between 0 and 1")
    if not len(scored.score):
        raise ValueError("found no predicted entity in the sentences, expected some")
    types = ["", *scored.types_of_their_own()]
    parts = {label: scored.of_type(label) for label in types}
    temperature = {label: fit_temperature(one.score, one.right) for label, one in parts.items()}
    after = calibrate(scored.score, scored.label, temperature)
    by_precision: dict[str, ByType | None] = {}
    for wanted in precisions:
        found = {
            label: lowest_threshold(
                after if not label else after[scored.label == label], one.right, wanted
            )
            for label, one in parts.items()
        }
        reached = {name: NONE_RETURNED if one is None else one for name, one in found.items()}
        by_precision[f"{wanted:g}"] = (
            reached if any(one is not None for one in found.values()) else None
        )
    risk: dict[str, ByType | None] = {}
    for alpha in alphas:
        logit = certified_logit(scored, alpha, confidence)
        risk[f"{alpha:g}"] = (
            None
            if logit is None
            else {
                label: float(sigmoid(np.array(logit / own))) for label, own in temperature.items()
            }
        )
    return {
        "version": VERSION,
        "temperature": temperature,
        "precision": by_precision,
        "risk": risk,
        "confidence": confidence,
        "sentences": scored.sentences,
        "entities": {
            "gold": sum(scored.gold.values()),
            "predicted": len(scored.score),
            "right": int(scored.right.sum()),
        },
        "expected_calibration_error": {
            "before": expected_calibration_error(scored.score, scored.right),
            "after": expected_calibration_error(after, scored.right),
        },
    }


def returned(scored: Scored, fitted: Mapping[str, Any], thresholds: ByType) -> np.ndarray:
    """Which entities `[E]` are returned at calibrated thresholds.

    Args:
        scored: the entities.
        fitted: what `fit_thresholds` gave for these or other sentences.
        thresholds: one of its thresholds, by type.
    """
    own = [thresholds.get(label, thresholds[""]) for label in scored.label.tolist()]
    calibrated = calibrate(scored.score, scored.label, fitted["temperature"])
    return calibrated >= np.array(own, np.float64)

"""Bootstrap intervals and comparisons, calibration and confusion, as pure functions.

    counts = sentence_counts(gold, predicted)
    score = f1_interval(counts, np.random.default_rng(0))
    score.value, score.low, score.high

Sentences are resampled, not entities, because the entities of a sentence depend on each other. A
resample is one multinomial draw over the distinct rows of counts, which has the same distribution
as drawing sentences and needs fewer numbers.

Shapes: `n` sentences, `R` resamples, `S` systems, `M` seeds, `T` entity types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_mmnerd.labels import Span

Array = np.ndarray[Any, Any]

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Bin",
    "Calibration",
    "Comparison",
    "Confusion",
    "Interval",
    "calibrate",
    "compare",
    "confuse",
    "f1",
    "f1_interval",
    "holm",
    "interval",
    "over_seeds",
    "resample",
    "resampled_f1",
    "sentence_counts",
]

RESAMPLES = 5000
LEVEL = 0.95
BINS = 10

MOST_DRAWS = 2**23
"""Numbers of draws that are held at once."""


# Resampling ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A score and its bootstrap percentile interval; `low` and `high` are fractions as `value`."""

    value: float
    low: float
    high: float


def sentence_counts(
    gold: Sequence[Sequence[Span]],
    predicted: Sequence[Sequence[Span]],
    label: str | None = None,
) -> Array:
    """`[n, 3]`: how many entities of each sentence are right, predicted, and to be found.

    Args:
        gold: the entities of each sentence.
        predicted: the same, as predicted.
        label: count entities of this type alone.
    """
    rows = []
    for entities, found in zip(gold, predicted, strict=True):
        right, said = (
            {entity for entity in spans if label is None or entity[2] == label}
            for spans in (entities, found)
        )
        rows.append((len(right & said), len(said), len(right)))
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def f1(counts: Array) -> Array:
    """`[..., 3]` counts (right, predicted, gold) to `[...]` F1; 0 where there is no entity."""
    found = counts[..., 1] + counts[..., 2]
    return np.asarray(2 * counts[..., 0] / np.maximum(found, 1))


def resample(counts: Array, generator: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """Sums of as many rows as there are, drawn with replacement: `[n, C]` to `[R, C]`."""
    if not len(counts):
        return np.zeros((resamples, counts.shape[1]), dtype=np.int64)
    distinct, times = np.unique(counts, axis=0, return_counts=True)
    at_once = max(1, MOST_DRAWS // len(distinct))
    parts = [
        generator.multinomial(len(counts), times / len(counts), size=min(at_once, resamples - done))
        @ distinct
        for done in range(0, resamples, at_once)
    ]
    return np.concatenate(parts)


def resampled_f1(
    counts: Array, generator: np.random.Generator, resamples: int = RESAMPLES
) -> Array:
    """The F1 of each resample: `[n, 3 * S]`, the counts of `S` systems side by side, to `[R, S]`.
    Every resample takes the same sentences for all systems."""
    sums = resample(counts, generator, resamples)
    return f1(sums.reshape(len(sums), -1, 3))


def interval(value: float, samples: Array) -> Interval:
    """The percentile interval (`LEVEL`) of `[R]` resampled values."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def f1_interval(counts: Array, generator: np.random.Generator) -> Interval:
    """F1 of `[n, 3]` counts with its interval, sentences resampled."""
    return interval(float(f1(counts.sum(axis=0))), resampled_f1(counts, generator)[:, 0])


# Comparing ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems on the same sentences.

    Attributes:
        difference: the second's score minus the first's, and its interval.
        p: the p-value, two-sided.
    """

    difference: Interval
    p: float


def compare(first: float, second: float, samples: Array) -> Comparison:
    """The paired bootstrap test of two scores, two-sided.

    The same resampled sentences are scored for both systems, which gives a sample of the
    difference, `d*`. Its spread around the difference that was observed, `d`, is what the spread
    around nothing would be if the systems were equally good: `p` is the fraction of resamples with
    `|d* - d| >= |d|`. That is the test of Berg-Kirkpatrick, Burkett and Klein ("An Empirical
    Investigation of Statistical Significance in NLP", EMNLP 2012, figure 1), who count `d* > 2 d`,
    made two-sided. The observed sample counts as one of the resamples, `(1 + k) / (1 + R)`, so that
    no `p` is 0 (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 4.2).
    `p` covers the choice of test sentences, not the variation between training runs.

    Args:
        first: score of the first system on all sentences.
        second: of the second system.
        samples: `[R, 2]`, both scores on each resample.
    """
    observed = float(second) - float(first)
    differences = samples[:, 1] - samples[:, 0]
    # Sums in another order differ in their last bits; a difference of the same size counts.
    as_large = np.abs(differences - observed) >= abs(observed) - 1e-12
    p = (1 + int(as_large.sum())) / (1 + len(samples))
    return Comparison(interval(observed, differences), p)


def over_seeds(scores: Array, generator: np.random.Generator) -> Array:
    """Resample the seeds of trainings: `[R, M, S]` scores to `[R, S]` means over seeds.

    For each resample of the sentences, as many seeds as there are are drawn with replacement, the
    same for all systems. Sentences and seeds are crossed: every training is tested on the same
    sentences, so that a resample takes one draw of sentences for all its seeds. That is the
    bootstrap of two crossed random factors (Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 1(2), 2007). With few seeds it understates what another seed would change, by
    `sqrt(1 - 1 / M)` for that part of the spread; with one seed it says nothing of it.
    """
    drawn = generator.integers(scores.shape[1], size=scores.shape[:2])  # [R, M]
    return np.asarray(np.take_along_axis(scores, drawn[..., None], axis=1).mean(axis=1))


def holm(p: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, adjusted so that below 0.05 stands a false one in at
    most 5 % of such families of comparisons (Holm, "A simple sequentially rejective multiple test
    procedure", Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(p, dtype=float)[order] * factors), 1)
    return [float(adjusted[place]) for place in np.argsort(order, kind="stable")]


# Calibration --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bin:
    """The predictions of one range of confidence, `low` < confidence <= `high`.

    Attributes:
        count: how many there are.
        confidence: their mean confidence; NaN if there are none.
        accuracy: the fraction that is right; NaN if there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram and its expected calibration error, a fraction; NaN of nothing."""

    bins: tuple[Bin, ...]
    error: float


def calibrate(confidence: Sequence[float], right: Sequence[bool]) -> Calibration:
    """Compare the confidence of predictions with the fraction that is correct.

    The bins are ten of equal width on [0, 1], each without its lower bound (the first one with it);
    the expected calibration error is the mean over predictions of their bin's distance between mean
    confidence and fraction right (Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural
    Networks", ICML 2017, section 2).

    Args:
        confidence: of each prediction, in [0, 1].
        right: whether each prediction is correct.
    """
    sure, hit = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    edges = np.linspace(0, 1, BINS + 1)
    places = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means, hits = (
            np.bincount(places, weights, minlength=BINS) / counts for weights in (sure, hit)
        )
    bins = tuple(
        Bin(float(edges[at]), float(edges[at + 1]), int(counts[at]), means[at], hits[at])
        for at in range(BINS)
    )
    error = sum(part.count * abs(part.confidence - part.accuracy) for part in bins if part.count)
    return Calibration(bins, float(error / len(sure)) if len(sure) else float("nan"))


# Confusion ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Confusion:
    """Predicted types by gold types.

    Attributes:
        types: in the order of the matrix.
        matrix: `[T + 1, T + 1]`: rows are gold types and, last, "spurious": predicted where there
            is no entity of these words. Columns are predicted types and, last, "missed". A gold
            type's row sums to its entities, a predicted type's column to its predictions.
        overlapping: how many of the missed entities share a word with a predicted one.
    """

    types: tuple[str, ...]
    matrix: Array
    overlapping: int

    @property
    def shares(self) -> Array:
        """`[T + 1, T + 1]`: each count as a fraction of its row, 0 in an empty one."""
        return np.asarray(self.matrix / np.maximum(self.matrix.sum(axis=1, keepdims=True), 1))


def confuse(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> Confusion:
    """Count what was predicted for the words of each gold entity.

    Two entities are a pair when they are of exactly the same words. One that was predicted with
    other boundaries is therefore counted twice, as `metrics.score` does: one missed, one spurious.
    """
    types = tuple(sorted({entity[2] for part in (*gold, *predicted) for entity in part}))
    place = {label: index for index, label in enumerate(types)}
    nothing = len(types)
    matrix = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    overlapping = 0
    for right, said in zip(gold, predicted, strict=True):
        wanted = {(start, end): label for start, end, label in right}
        found = {(start, end): label for start, end, label in said}
        for words, label in wanted.items():
            column = place[found[words]] if words in found else nothing
            matrix[place[label], column] += 1
            if column == nothing:
                overlapping += any(start < words[1] and words[0] < end for start, end in found)
        for words in found.keys() - wanted.keys():
            matrix[nothing, place[found[words]]] += 1
    return Confusion(types, matrix, overlapping)

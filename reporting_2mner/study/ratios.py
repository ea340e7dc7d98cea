"""Means and ratios of figures that each sentence has, over sentences and seeds.

    score = bootstrap_ratios(above, below)    # of each system, sum over sum
    score.interval(1), score.comparison(0, 1)

Shapes: `M` seeds, `S` systems, `n` sentences, `R` resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..comparison import SEED, Score
from ..statistics import over_seeds, resample

__all__ = ["bootstrap_means", "bootstrap_ratios"]


def bootstrap_ratios(above: np.ndarray, below: np.ndarray) -> Score:
    """The ratio of two sums over sentences, mean over seeds, of each system, on the same resamples
    of sentences and seeds.

    Args:
        above, below: `[M, S, n]`. A ratio to nothing is 0; in a resample without anything below it
            is that of all sentences.
    """
    seeds, systems, sentences = above.shape
    pairs = np.stack([above, below], -1).transpose(2, 0, 1, 3).reshape(sentences, -1)
    sums = resample(pairs, np.random.default_rng(SEED)).reshape(-1, seeds, systems, 2)
    whole = _divide(above.sum(axis=2), below.sum(axis=2), 0.0)  # [M, S]
    drawn = _divide(sums[..., 0], sums[..., 1], whole)  # [R, M, S]
    return Score(whole.mean(axis=0), over_seeds(drawn, np.random.default_rng(SEED)))


def _divide(above: np.ndarray, below: np.ndarray, instead: np.ndarray | float) -> np.ndarray:
    """The ratio, and something else where there is nothing below."""
    nothing = below == 0
    return np.where(nothing, instead, above / np.where(nothing, 1, below))


def bootstrap_means(values: Iterable[Iterable[Sequence[Any]]]) -> Score:
    """The mean over the sentences that have a value, of each system, mean over seeds.

    Args:
        values: for each seed and system the value of each sentence, or None.
    """
    numbers = np.array([[list(row) for row in seed] for seed in values], dtype=float)  # None: NaN
    there = ~np.isnan(numbers)
    return bootstrap_ratios(np.where(there, numbers, 0), there.astype(float))

"""What a CRF says about sentences, in NumPy alone: the best labels, and probabilities.

    decoder = Decoder(labels, scores)
    decoding = decoder.decode(emissions, lengths)
    by_type = decoder.span_scores(emissions, lengths, [(0, 3, 5)])

The formulas are those of `crf_2mner`; all sums are of logarithms in float64, which is exact for any
scores. What training, GPUs and compiled code need is in `recursions_2mner`.

Shapes: `B` sentences, `W` words, `K` labels, `T` types, `n` spans. The recursions keep the words in
the first dimension.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .labels_2mner import (
    UNKNOWN,
    begins_entity,
    continues_entity,
    entity_types,
    spans_from_labels,
    split_label,
)

__all__ = ["IMPOSSIBLE", "Decoder", "Decoding", "decoded_entities"]

IMPOSSIBLE = -1e8
"""The score of what is forbidden: other scores do not make up for it, and float64 adds it to them
with an error of 1e-8."""

NUMBERS_AT_ONCE = 2**22
"""Numbers of an intermediate array, at most."""


@dataclass
class Decoding:
    """What the CRF says about a batch of sentences.

    Attributes:
        labels: `[B, W]` the most probable label sequence (Viterbi); -100 behind the last word.
        marginals: `[B, W, K]` the probability of each label of each word; 0 behind the last word.
        entity_scores: `[B, W]` at the first word of each entity of `labels`, the probability of
            that entity (its type and both its ends); 0 elsewhere.
    """

    labels: np.ndarray
    marginals: np.ndarray
    entity_scores: np.ndarray


class _Messages(NamedTuple):
    """The recursions over a batch, as logarithms, `[W, B, K]`.

    Attributes:
        emissions: those of the words; the largest of a word is 0.
        mask: `[W, B]` bool, true on words.
        alpha: the summed weight of all labels up to a word that end in each label.
        beta: the summed weight of all labels after a word, if it has each label.
    """

    emissions: np.ndarray
    mask: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray

    @property
    def following(self) -> np.ndarray:
        """`beta` with the word's own emission."""
        return self.emissions + self.beta


class Decoder:
    """Reads emissions by a CRF.

    Args:
        labels: the `K` label names, in the order of the emissions.
        scores: `[K + 2, K]` at the start, from each label to each, at the end; `IMPOSSIBLE` for
            what is forbidden.
    """

    def __init__(self, labels: Sequence[str], scores: np.ndarray):
        self.labels, self.types = list(labels), entity_types(labels)
        self.scores = scores = np.asarray(scores, np.float64)
        self._start, self._between, self._end = scores[0], scores[1:-1], scores[-1]
        self._begins = np.array([begins_entity(label) for label in labels])
        self._continues = np.array(
            [[continues_entity(one, other) for other in labels] for one in labels]
        )
        self._leaving = np.where(self._continues, -np.inf, self._between)
        self._inside = np.where(self._continues, self._between, -np.inf)
        kinds = [split_label(label)[1] for label in labels]
        self._of_type = np.array([[kind == name for name in self.types] for kind in kinds])

    def decode(self, emissions: np.ndarray, lengths: Sequence[int]) -> Decoding:
        """The most probable labels, the probability of every label, and of every entity.

        Args:
            emissions: `[B, W, K]`.
            lengths: the words of each sentence.
        """
        if emissions.shape[1] == 0:
            nothing = np.zeros(emissions.shape[:2], np.float32)
            return Decoding(nothing.astype(np.int64), emissions.astype(np.float32), nothing)
        found = self._messages(emissions, lengths)
        labels = self._best_labels(found)
        weights = found.alpha + found.beta
        marginals = np.exp(weights - _log_sum(weights, -1)[..., None])
        scores = self._entity_scores(found, labels, marginals)
        outside = ~found.mask
        labels[outside], marginals[outside] = UNKNOWN, 0.0
        return Decoding(
            labels.T, marginals.swapaxes(0, 1).astype(np.float32), scores.T.astype(np.float32)
        )

    def span_scores(
        self,
        emissions: np.ndarray,
        lengths: Sequence[int],
        spans: Iterable[tuple[int, int, int]],
    ) -> np.ndarray:
        """The probability that exactly a span is an entity, for each type.

        A label sequence has the entity `[start, end)` of a type if the first word begins it, each
        further word continues it, and the word after it does not. The sum over all such sequences
        is `alpha[start]` of a label that begins, the steps and emissions inside the span, and all
        continuations that leave it, divided by `Z`.

        Args:
            emissions: `[B, W, K]`.
            lengths: the words of each sentence.
            spans: the number of a sentence, and words `[start, end)` of it.

        Returns:
            `[n, T]`, in the order of `types`; a row sums to at most 1.
        """
        bounds = np.array(list(spans), np.int64).reshape(-1, 3)
        by_type = np.zeros((len(bounds), len(self.types)), np.float32)
        if emissions.shape[1] == 0 or len(bounds) == 0:
            return by_type
        found, ends = self._messages(emissions, lengths), np.asarray(lengths)
        order = np.argsort(bounds[:, 1] - bounds[:, 2], kind="stable")  # the longest come first
        part = max(1, NUMBERS_AT_ONCE // self._between.size)
        for first in range(0, len(order), part):
            rows = order[first : first + part]
            by_label = self._span_weights(found, ends, *bounds[rows].T)
            by_type[rows] = np.minimum(by_label @ self._of_type, 1.0)
        return by_type

    def _messages(self, emissions: np.ndarray, lengths: Sequence[int]) -> _Messages:
        """Run both recursions; behind a sentence's last word the values mean nothing."""
        mask = np.arange(emissions.shape[1])[:, None] < np.asarray(lengths)  # [W, B]
        own = emissions.swapaxes(0, 1).astype(np.float64)
        own = np.where(mask[..., None], own - own.max(-1, keepdims=True), 0.0)
        alpha, beta = np.empty_like(own), np.empty_like(own)
        alpha[0], beta[-1] = self._start + own[0], self._end
        for word in range(1, len(own)):
            alpha[word] = _log_sum(alpha[word - 1][:, :, None] + self._between, 1) + own[word]
        for word in range(len(own) - 2, -1, -1):
            onward = _log_sum((own[word + 1] + beta[word + 1])[:, None, :] + self._between, 2)
            beta[word] = np.where(mask[word + 1][:, None], onward, self._end)
        return _Messages(own, mask, alpha, beta)

    def _best_labels(self, found: _Messages) -> np.ndarray:
        """`[W, B]`: the most probable label sequence; behind the last word any label."""
        own, mask = found.emissions, found.mask
        sentences = np.arange(own.shape[1])
        best, back = self._start + own[0], np.empty(own.shape, np.int64)
        for word in range(1, len(own)):
            pairs = best[:, :, None] + self._between  # [B, from, to]
            back[word] = pairs.argmax(1)
            reached = pairs.max(1) + own[word]
            best = np.where(mask[word][:, None], reached, best)
        labels = np.empty(mask.shape, np.int64)
        labels[-1] = (best + self._end).argmax(-1)
        for word in range(len(own) - 1, 0, -1):
            previous = back[word][sentences, labels[word]]
            labels[word - 1] = np.where(mask[word], previous, labels[word])
        return labels

    def _entity_scores(
        self, found: _Messages, labels: np.ndarray, marginals: np.ndarray
    ) -> np.ndarray:
        """The probability of the entity that begins at each word `[W, B]`: that of its first label,
        of each label that goes on with it given the one before, and of any label that ends it after
        that. 0 where no entity begins.
        """
        mask, here, after = found.mask, labels[:-1], labels[1:]
        goes_on = self._continues[here, after] & mask[1:]  # [W - 1, B]
        following = found.following[1:]
        step = self._between[here, after] + _at(following, after)
        leave = _log_sum(self._leaving[here] + following, -1)
        onward = np.where(goes_on, step, leave) - _at(found.beta[:-1], here)
        onward[~mask[1:]] = 0.0  # after a sentence's last word nothing comes
        # From the last word back: a word that goes on takes what its next word has.
        inside = np.zeros(labels.shape)
        for word in range(len(labels) - 2, -1, -1):
            inside[word] = onward[word] + np.where(goes_on[word], inside[word + 1], 0.0)
        score = np.minimum(_at(marginals, labels) * np.exp(inside), 1.0)
        return np.where(mask & self._begins[labels], score, 0.0)

    def _span_weights(
        self,
        found: _Messages,
        lengths: np.ndarray,
        sentence: np.ndarray,
        start: np.ndarray,
        stop: np.ndarray,
    ) -> np.ndarray:
        """`[n, K]`: the probability of each span by the label of its last word.

        Args:
            found: by the recursions.
            lengths: `[B]`.
            sentence, start, stop: `[n]`, the longest spans first.
        """
        state = np.where(self._begins, found.alpha[start, sentence], -np.inf)
        size = stop - start
        for step in range(1, int(size[0])):
            going = int((size > step).sum())
            here = found.emissions[start[:going] + step, sentence[:going]]
            state[:going] = _log_sum(state[:going, :, None] + self._inside, 1) + here
        at_end = stop == lengths[sentence]
        follows = found.following[np.where(at_end, start, stop), sentence]  # at the end any word
        leave = _log_sum(self._leaving + follows[:, None, :], 2)
        state = state + np.where(at_end[:, None], self._end, leave)
        total = _log_sum((found.alpha + found.beta)[start, sentence], 1)
        return np.minimum(np.exp(state - total[:, None]), 1.0)


def decoded_entities(
    labels: Sequence[str],
    predictions: Iterable[Sequence[int]],
    entity_scores: Iterable[Sequence[float]],
    lengths: Iterable[int],
) -> list[list[tuple[int, int, str, float]]]:
    """The entities of each sentence: words `[start, end)`, type and probability.

    Args:
        labels: the label names, in the order of the emissions.
        predictions, entity_scores: `[B, W]`, as in `Decoding`.
        lengths: the words of each sentence.
    """
    rows = zip(predictions, entity_scores, lengths, strict=True)
    return [
        [
            (start, end, entity_type, scores[start])
            for start, end, entity_type in spans_from_labels([labels[i] for i in ids[:length]])
        ]
        for ids, scores, length in rows
    ]


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    """The logarithm of a sum of exponentials; minus infinity for a sum of nothing."""
    most = values.max(axis, keepdims=True)
    shift = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - shift).sum(axis)) + shift.squeeze(axis)


def _at(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`[..., K]` at labels `[...]`: `[...]`."""
    return np.take_along_axis(values, labels[..., None], -1)[..., 0]

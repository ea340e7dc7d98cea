"""What a CRF says about sentences, in NumPy alone: the best labels, and probabilities.

    decoder = Decoder(labels, scores)
    decoding = decoder.decode(emissions, lengths)
    by_type = decoder.span_scores(emissions, lengths, [(0, 3, 5)])

The scores are those of `crf_2mner`. Sums over all label sequences:

    alpha[t, k]      the summed weight of all labels of words 0..t that end in k
    beta[t, k]       the summed weight of all labels of the words after t, if t has k
    following[t, k]  the same with that of word t's own emission
    Z                the summed weight of all label sequences
    p[t, k]          alpha[t, k] * beta[t, k] / Z, the marginals

* Both recursions run in one loop over the words, alpha from the first word and beta from the last.
* A step is a matrix product of weights in float64, scaled now and then, where the scores show that
  no weight that counts can underflow (`scaling_of`). Else it is a sum of logarithms, which is exact
  for any scores.

What training, GPUs and compiled code need besides is in `recursions_2mner`.

Shapes: `B` sentences, `W` words, `K` labels, `T` types, `n` spans or words, `S` = `W` steps of a
recursion.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .labels_2mner import (
    UNKNOWN,
    begins_entity,
    continues_entity,
    entity_types,
    spans_from_labels,
    split_label,
)

__all__ = [
    "IMPOSSIBLE",
    "Decoder",
    "Decoding",
    "LabelScheme",
    "decoded_entities",
    "recursions",
    "scaling_of",
]

IMPOSSIBLE = -1e8
"""The score of what is forbidden: other scores do not make up for it, and float64 adds it to them
with an error of 1e-8."""

TINY = float(np.finfo(np.float64).tiny)
"""The least number that is divided by."""

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


class LabelScheme(NamedTuple):
    """What label names say of entities.

    Attributes:
        types: of the entities, in the order of the labels.
        begins: `[K]` whether a label begins an entity.
        continues: `[K, K]` whether a label continues the entity of the one before it.
        of_type: `[K, T]` whether a label is of a type.
        inside: `[K + 1]` whether a label is of any type; `K` stands for no label.
    """

    types: tuple[str, ...]
    begins: np.ndarray
    continues: np.ndarray
    of_type: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, labels: Sequence[str]) -> "LabelScheme":
        """
        Raises:
            ValueError: if a name is not a label of BIO or BIOES.
        """
        return _scheme_of(tuple(labels))


@lru_cache(maxsize=16)
def _scheme_of(labels: tuple[str, ...]) -> LabelScheme:
    kinds, types = [split_label(label)[1] for label in labels], entity_types(labels)
    return LabelScheme(
        types=tuple(types),
        begins=np.array([begins_entity(label) for label in labels]),
        continues=np.array([[continues_entity(one, two) for two in labels] for one in labels]),
        of_type=np.array([[kind == name for name in types] for kind in kinds]),
        inside=np.array([*map(bool, kinds), False]),
    )


# Sums over all label sequences --------------------------------------------------------------------


def scaling_of(scores: np.ndarray, least: float) -> int:
    """After how many steps products of weights have to be scaled; 0 if some could underflow before.

    Where one label may stand at the start, after itself and at the end, any allowed label is
    reached from any other in at most three steps, so that the weights of a word's labels differ by
    at most four times what the scores of one step differ by: a seventh of the exponents that the
    type has leaves room for some steps besides.

    Args:
        scores: as in `Decoder`.
        least: the least emission; the largest of a word is 0.
    """
    allowed = ~(scores < IMPOSSIBLE / 2)
    everywhere = allowed[0] & allowed[1:-1].diagonal() & allowed[-1]
    if not everywhere.any():
        return 0
    spread = float(2 * abs(scores)[allowed].max() - least)
    exponents = -math.log(np.finfo(scores.dtype).tiny)
    if not spread < exponents / 7:  # nor if it is NaN
        return 0
    return max(1, int(0.28 * exponents / (spread + math.log(len(everywhere)) + 1)))


def recursions(
    scores: np.ndarray, emissions: np.ndarray, outside: np.ndarray | None, scaling: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run both recursions. Step s of the first takes word s, of the second the s-th from the end.

    Args:
        scores: as in `Decoder`.
        emissions: `[W, B, K]`; the largest of a word is 0, and all are 0 behind a sentence's last
            word.
        outside: `[W, B, 1]` whether a sentence has no such word; None if all have `W` words.
        scaling: that of `scaling_of`.

    Returns:
        What has been summed before and after each step's emissions `[S, 2, B, K]`: weights, or
        logarithms where `scaling` is 0; and by how much the weights were divided after the step
        `[S, 2, B, 1]`: every `scaling` steps, to a sum of 1. Behind a sentence's last word they
        mean nothing.
    """
    join = np.multiply if scaling else np.add
    if scaling:
        scores, emissions = np.exp(scores), np.exp(emissions)
    first, between = scores[:: len(scores) - 1, None], np.stack([scores[1:-1], scores[1:-1].T])
    own = np.stack([emissions, emissions[::-1]], 1)
    before, after, scale = np.empty_like(own), np.empty_like(own), np.ones_like(own[..., :1])
    before[0] = first
    join(first, own[0], after[0])
    # Iterating is cheaper than taking one step after the other by its number.
    steps = zip(after, own[1:], before[1:], after[1:], scale[1:], strict=False)
    for step, (last, word, reached, weighted, total) in enumerate(steps, 1):
        if scaling:
            np.matmul(last, between, reached)
        else:
            reached[...] = _log_sum(last[..., None] + between[:, None], -2)
        if outside is not None:  # the second recursion begins at a sentence's last word
            np.copyto(reached[1], first[1], where=outside[-step])
        join(reached, word, weighted)
        if scaling and step % scaling == 0:
            np.sum(weighted, -1, keepdims=True, out=total)
            np.divide(weighted, total, weighted)
    return before, after, scale


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    """The logarithm of a sum of exponentials."""
    most = values.max(axis, keepdims=True)
    found: np.ndarray = np.log(np.exp(values - most).sum(axis)) + most.squeeze(axis)
    return found


class _Messages(NamedTuple):
    """What the recursions find: weights, those of a word scaled by some number; or logarithms.

    Attributes:
        between: `[K, K]` from label to label.
        alpha, beta, following: `[W, B, K]`.
        logs: whether they are logarithms.
    """

    between: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    following: np.ndarray
    logs: bool

    @classmethod
    def of(
        cls, scores: np.ndarray, emissions: np.ndarray, outside: np.ndarray | None
    ) -> "_Messages":
        """Of what `recursions` takes."""
        scaling = scaling_of(scores, emissions.min())
        before, after, _ = recursions(scores, emissions, outside, scaling)
        between = np.exp(scores[1:-1]) if scaling else scores[1:-1]
        return cls(between, after[:, 0], before[::-1, 1], after[::-1, 1], not scaling)

    def marginals(self) -> np.ndarray:
        """`[W, B, K]`."""
        weights: np.ndarray
        if self.logs:
            weights = self.alpha + self.beta
            weights = np.exp(weights - weights.max(-1, keepdims=True))
        else:
            weights = self.alpha * self.beta
        weights /= weights.sum(-1, keepdims=True)
        return weights

    def onward(self, word: np.ndarray, sentence: np.ndarray, label: np.ndarray) -> np.ndarray:
        """`[..., K]`: the probability of each label of the next word, given that of a word.

        Args:
            word, sentence, label: `[...]`; a word that is not the last one of its sentence.
        """
        following = self.following[word + 1, sentence]
        beta = self.beta[word, sentence, label][..., None]
        found: np.ndarray
        if self.logs:
            found = np.exp(self.between[label] + following - beta)
        else:
            found = self.between[label] * following / np.maximum(beta, TINY)
        return found


# Decoding -----------------------------------------------------------------------------------------


class Decoder:
    """Reads emissions by a CRF.

    Args:
        labels: the `K` label names, in the order of the emissions.
        scores: `[K + 2, K]` at the start, from each label to each, at the end; `IMPOSSIBLE` for
            what is forbidden.
    """

    def __init__(self, labels: Sequence[str], scores: np.ndarray):
        self.labels, self._scheme = list(labels), LabelScheme.of(labels)
        self.types = list(self._scheme.types)
        self.scores = np.asarray(scores, np.float64)

    def decode(self, emissions: np.ndarray, lengths: Sequence[int] | np.ndarray) -> Decoding:
        """The most probable labels, the probability of every label, and of every entity.

        Args:
            emissions: `[B, W, K]`.
            lengths: the words of each sentence.

        Returns:
            Probabilities in float32 (float64 for such emissions).
        """
        dtype = np.promote_types(emissions.dtype, np.float32)
        marginals = np.zeros(emissions.shape, dtype)
        if 0 in emissions.shape[:2]:
            nothing = np.zeros(emissions.shape[:2], dtype)
            return Decoding(nothing.astype(np.int64), marginals, nothing)
        own, outside = _by_word(emissions, lengths)
        found = _Messages.of(self.scores, own, outside)
        labels, probabilities = self._best_labels(own, outside).T, found.marginals()
        entity_scores = self._entity_scores(found, labels, probabilities).astype(dtype)
        inside: Any = True if outside is None else ~outside.swapaxes(0, 1)
        np.copyto(marginals, probabilities.swapaxes(0, 1), "same_kind", where=inside)
        labels = np.where(labels == len(self.labels), UNKNOWN, labels)[:, :-1]
        return Decoding(labels, marginals, entity_scores)

    def span_scores(
        self,
        emissions: np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        spans: Iterable[tuple[int, int, int]],
    ) -> np.ndarray:
        """The probability that exactly a span is an entity, for each type.

        A label sequence has the entity `[start, end)` of a type if the first word begins it, each
        further word continues it, and the word after it does not.

        Args:
            emissions: `[B, W, K]`.
            lengths: the words of each sentence.
            spans: the number of a sentence, and words `[start, end)` of it.

        Returns:
            `[n, T]`, float32, in the order of `types`; a row sums to at most 1.
        """
        bounds = np.array(list(spans), np.int64).reshape(-1, 3)
        by_type = np.zeros((len(bounds), len(self.types)), np.float32)
        if emissions.shape[1] == 0 or len(bounds) == 0:
            return by_type
        found, ends = _Messages.of(self.scores, *_by_word(emissions, lengths)), np.asarray(lengths)
        marginals = found.marginals()
        order = np.argsort(bounds[:, 1] - bounds[:, 2], kind="stable")  # the longest come first
        part = max(1, NUMBERS_AT_ONCE // found.between.size)
        for first in range(0, len(order), part):
            rows = order[first : first + part]
            by_label = self._span_scores(found, marginals, ends, *bounds[rows].T)
            by_type[rows] = np.minimum(by_label @ self._scheme.of_type, 1.0)
        return by_type

    def _best_labels(self, emissions: np.ndarray, outside: np.ndarray | None) -> np.ndarray:
        """`[W + 1, B]`: the most probable labels (Viterbi, 1967); `K` behind the last word."""
        start, between, end = self.scores[0], self.scores[1:-1], self.scores[-1]
        add, most = np.add, np.maximum.reduce
        # best[t, b, k]: the score of the best labels of words 0..t that end in k.
        best = np.empty_like(emissions)
        add(start, emissions[0], best[0])
        pairs = np.empty((len(between), *best[0].shape))  # [from, B, to]
        steps, last = between[:, None], best.swapaxes(1, 2)[..., None]
        for before, own, reached in zip(last, emissions[1:], best[1:], strict=False):
            add(before, steps, pairs)
            most(pairs, 0, None, reached)
            add(reached, own, reached)
        # Back from the end, which is the last of the steps and of the labels.
        steps = np.concatenate([between.T, end[None]])  # [to, from]
        labels = np.full((len(best) + 1, best.shape[1]), len(end))
        pairs = pairs[0]
        backward = zip(best[::-1], labels[::-1], labels[-2::-1], strict=False)
        for word, (reached, label, before) in enumerate(backward, 1):
            add(reached, steps.take(label, 0, pairs, "clip"), pairs)  # a mode without a buffer
            pairs.argmax(-1, before)
            if outside is not None:
                np.copyto(before, len(end), where=outside[-word, :, 0])
        return labels

    def _entity_scores(
        self, found: _Messages, labels: np.ndarray, marginals: np.ndarray
    ) -> np.ndarray:
        """The probability of the entity that begins at each word: that of its first label, of each
        label that goes on with it given the one before, and of any label that ends it after that.

        Args:
            found: by the recursions.
            labels: `[B, W + 1]`; `K` behind the last word.
            marginals: `[W, B, K]`.

        Returns:
            `[B, W]`; 0 where no entity begins.
        """
        scheme, size = self._scheme, len(self.labels)
        scores = np.zeros((len(labels), labels.shape[1] - 1))
        sentence, word = scheme.inside[labels].nonzero()  # [n]
        if len(word) == 0:
            return scores
        here, after = labels[sentence, word], labels[sentence, word + 1]
        goes_on, onward = np.zeros(len(word), bool), np.ones(len(word))
        inner = (after < size).nonzero()[0]  # after a sentence's last word nothing comes
        step = found.onward(word[inner], sentence[inner], here[inner])
        continues = scheme.continues[here[inner]]
        chosen = np.arange(len(inner)), after[inner]
        goes_on[inner] = continues[chosen]
        leave = (step * ~continues).sum(-1)
        onward[inner] = np.where(continues[chosen], step[chosen], leave)
        # Words that go on with one another are one run.
        first = np.append(0, (~goes_on[:-1]).nonzero()[0] + 1)
        score = np.multiply.reduceat(onward, first)
        sentence, word, here = sentence[first], word[first], here[first]
        score = np.minimum(score * marginals[word, sentence, here], 1.0)
        scores[sentence, word] = np.where(scheme.begins[here], score, 0.0)
        return scores

    def _span_scores(
        self,
        found: _Messages,
        marginals: np.ndarray,
        lengths: np.ndarray,
        sentence: np.ndarray,
        start: np.ndarray,
        stop: np.ndarray,
    ) -> np.ndarray:
        """`[n, K]`: the probability of each span by the label of its last word.

        Args:
            found: by the recursions.
            marginals: `[W, B, K]`.
            lengths: `[B]`.
            sentence, start, stop: `[n]`, the longest spans first.
        """
        begins, continues = self._scheme.begins, self._scheme.continues
        labels = np.arange(len(self.labels))
        state = np.where(begins, marginals[start, sentence], 0.0)

        def onward(word: np.ndarray, sentence: np.ndarray) -> np.ndarray:
            return found.onward(word[:, None], sentence[:, None], labels)  # [n, from, to]

        size = stop - start
        for step in range(1, int(size[0])):
            going = int((size > step).sum())
            steps = np.where(continues, onward(start[:going] + step - 1, sentence[:going]), 0.0)
            state[:going] = (state[:going, None] @ steps)[:, 0]
        goes_on = np.flatnonzero(stop < lengths[sentence])  # at the end nothing comes
        leave = np.where(continues, 0.0, onward(stop[goes_on] - 1, sentence[goes_on])).sum(2)
        state[goes_on] *= leave
        return state


def _by_word(
    emissions: np.ndarray, lengths: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Emissions `[B, W, K]` and lengths as `recursions` takes them: what is added to all of a
    word's changes no probability."""
    own = emissions.swapaxes(0, 1).astype(np.float64, "C")
    outside = (np.arange(len(own))[:, None] >= np.asarray(lengths))[..., None]
    ragged = bool(outside.any())
    if ragged:
        np.copyto(own, 0.0, where=outside)
    own -= own.max(-1, keepdims=True)
    return own, outside if ragged else None


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

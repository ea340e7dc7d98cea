"""The probability that exactly a given span is an entity, for each type, from a CRF's messages.

A label sequence has the entity `[start, end)` of a type if the first word begins it, each further
word continues it, and the word after it does not. The sum over all such sequences is

    alpha[start, y] * (steps and emissions inside the span) * (all continuations) / Z

Shapes: `B` sentences, `W` words, `K` labels, `T` types, `n` spans.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .labels_2mner import split_label

__all__ = ["entity_types", "span_probabilities"]

PART = 2**22
"""Numbers of an intermediate tensor, at most."""


def entity_types(labels: Sequence[str]) -> list[str]:
    """The types of some labels, in order of their first label."""
    return list(dict.fromkeys(split_label(label)[1] for label in labels if label != "O"))


def span_probabilities(
    labels: Sequence[str],
    alpha: Tensor,
    beta: Tensor,
    emissions: Tensor,
    transition: Tensor,
    end: Tensor,
    begins: Tensor,
    continues: Tensor,
    lengths: Tensor,
    spans: Tensor,
) -> Tensor:
    """The probability of each type over each span.

    Args:
        labels: the `K` label names.
        alpha, beta: `[B, W, K]`, the forward messages, which include the emission of their word,
            and the backward messages, as logarithms.
        emissions: `[B, W, K]`.
        transition, end: `[K, K]` from one label to the next, `[K]` at the end.
        begins: `[K]` bool, the labels of an entity's first word.
        continues: `[K, K]` bool, whether the second label continues the entity of the first one.
        lengths: `[B]` words of each sentence.
        spans: `[n, 3]` long: the number of the sentence, and its words `[start, end)`.

    Returns:
        `[n, T]`, in the order of `entity_types`; a row sums to at most 1.
    """
    types = entity_types(labels)
    inside = transition.masked_fill(~continues, -torch.inf)
    outside = transition.masked_fill(continues, -torch.inf)
    order = (spans[:, 2] - spans[:, 1]).argsort(descending=True)
    found = alpha.new_zeros(len(spans), len(types))
    for rows in order.split(max(1, PART // transition.numel())):
        sentence, start, stop = spans[rows].T
        state = alpha[sentence, start].masked_fill(~begins, -torch.inf)  # [n, K]
        length = stop - start
        for step in range(1, int(length[0]) if len(rows) else 0):
            going = int((length > step).sum())  # the longest come first
            here = emissions[sentence[:going], start[:going] + step]
            state[:going] = (state[:going, :, None] + inside).logsumexp(1) + here
        ends = stop == lengths[sentence]
        after = stop.where(~ends, start)  # at the end of a sentence any word: it is not used
        follows = (emissions + beta)[sentence, after]
        leave = (outside + follows[:, None, :]).logsumexp(2)
        state = state + end.where(ends[:, None], leave)
        log_z = (alpha + beta)[sentence, start].logsumexp(1)
        by_label = (state - log_z[:, None]).exp().clamp(max=1.0)
        for number, name in enumerate(types):
            own = [index for index, label in enumerate(labels) if split_label(label)[1] == name]
            found[rows, number] = by_label[:, own].sum(1).clamp(max=1.0)
    return found

"""Sums over all label sequences of a linear chain, as tensors: for training, GPUs and traced code.

The formulas, and the loops that the CPU runs, are in `decoding_2mner`.

* A step of a recursion is a product of weights (`Products`) where `scaling_of` allows it. Else, and
  where the code is compiled or exported, it is a `logsumexp` (`Logs`).
* On the CPU products are loops over NumPy arrays, whose calls are the cheapest. On other devices
  they are scans of log2 W steps over tensors, so that the number of kernels does not grow with W;
  their arithmetic is tested on the CPU, and they have not been timed on a GPU.

Shapes: `B` sentences, `W` >= 1 words, `K` labels, `S` = `W` steps of a recursion. A sentence's
words come first in its row.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .decoding_2mner import recursions, scaling_of

__all__ = [
    "PART",
    "Chain",
    "Logs",
    "Products",
    "Steps",
    "at",
    "ends",
    "in_loops",
    "infer",
    "logsumexps",
    "rows",
    "scan",
]

PART = 2**20
"""Numbers that are worked on at once where a loop over all words would be slow, and all words at
once would need memory for `W * K * K` of them."""


class Chain(NamedTuple):
    """The scores of a batch of sentences.

    Attributes:
        emissions: `[B, W, K]`; the largest of a word is 0, and all are 0 outside the mask.
        scores: `[K + 2, K]` at the start, from each label to each, at the end; `IMPOSSIBLE` for
            what is forbidden.
        mask: `[B, W]` bool.
    """

    emissions: Tensor
    scores: Tensor
    mask: Tensor

    @classmethod
    def of(cls, emissions: Tensor, scores: Tensor, mask: Tensor) -> "Chain":
        """The same of any emissions: what is added to all of a word's changes no probability."""
        emissions = emissions.to(scores.dtype)
        emissions = emissions - emissions.amax(-1, keepdim=True)
        return cls(emissions.masked_fill(~mask[..., None], 0.0), scores, mask)


def in_loops(emissions: Tensor, few: int = 0) -> bool:
    """Whether loops over NumPy arrays are the cheapest, where nothing is traced: on the CPU, and on
    another device for at most so many words."""
    if torch.compiler.is_compiling():
        return False
    is_copied = emissions.device.type != "cpu" and emissions.shape[:-1].numel() <= few
    return is_copied or not _launches_are_dear(emissions)


def _launches_are_dear(tensor: Tensor) -> bool:
    """Whether few large operations are better than many small ones."""
    return tensor.device.type != "cpu"


# What the recursions find -------------------------------------------------------------------------


class Products(NamedTuple):
    """Weights; those of a word are scaled by some number, `alpha` by one, the others by another.

    Attributes:
        between: `[K, K]` from label to label.
        alpha, beta, following: `[W, B, K]`.
        total: `[W, B, 1]` the sum of `alpha * beta`.
        scale: `[W, B]` by how much `following` was divided more than `beta`.
    """

    between: Tensor
    alpha: Tensor
    beta: Tensor
    following: Tensor
    total: Tensor
    scale: Tensor

    @classmethod
    def of(cls, chain: Chain, scaling: int) -> "Products":
        """`scaling` is that of `scaling_of`."""
        if in_loops(chain.emissions):
            return cls(*map(torch.from_numpy, _product_loop(chain, scaling)))
        steps = Steps(chain)
        between = chain.scores[1:-1].exp()
        before, after, scale = _product_scan(chain.scores.exp(), steps.emissions.exp())
        alpha, beta, following = after[:, 0], steps.second(before), steps.second(after)
        total = (alpha * beta).sum(-1, keepdim=True)
        return cls(between, alpha, beta, following, total, steps.second(scale)[..., 0])

    def log_z(self, mask: Tensor) -> Tensor:
        """`[B]`, of sentences with a mask `[W, B]`."""
        # Of the first word alpha is not scaled, and beta by what all later words were.
        scales = self.scale[1:].log().masked_fill(~mask[1:], 0.0)
        return self.total[0, :, 0].log() + scales.sum(0)

    def marginals(self) -> Tensor:
        """`[W, B, K]`."""
        return self.alpha * self.beta / self.total

    def transitions(self, weights: Tensor) -> Tensor:
        """`[K, K]`: the expected number of each transition, weighted by `[W - 1, B]`."""
        size = len(self.between)
        goal = self.following[1:] * (weights[..., None] / self.total[:-1])
        return self.between * (self.alpha[:-1].reshape(-1, size).T @ goal.reshape(-1, size))

    def onward(self, labels: Tensor, goes_on: Tensor, leaves: Tensor) -> Tensor:
        """What is known of the label that comes next, given that of the word.

        Args:
            labels: `[W, B]`.
            goes_on: `[W - 1, B]` whether it has to be the next one of `labels`.
            leaves: `[K, K]` which ones it may be where not.

        Returns:
            `[W - 1, B]`, the log-probability.
        """
        here, following = labels[:-1], labels[1:]
        step = self.between[here, following] * at(self.following[1:], following)
        leave = ((self.between * leaves)[here] * self.following[1:]).sum(-1)
        return (torch.where(goes_on, step, leave) / at(self.beta[:-1], here)).log()


class Logs(NamedTuple):
    """The same as logarithms."""

    between: Tensor
    alpha: Tensor
    beta: Tensor
    following: Tensor

    @classmethod
    def of(cls, chain: Chain) -> "Logs":
        steps = Steps(chain)
        before, after = logsumexps(chain.scores, steps.emissions)
        return cls(chain.scores[1:-1], after[:, 0], steps.second(before), steps.second(after))

    def log_z(self, mask: Tensor) -> Tensor:
        return (self.alpha[0] + self.beta[0]).logsumexp(-1)

    def marginals(self) -> Tensor:
        return (self.alpha + self.beta).softmax(-1)

    def transitions(self, weights: Tensor) -> Tensor:
        size = self.alpha.shape[-1]
        expected = torch.zeros_like(self.between)
        part = max(1, PART // (size * size))
        for alpha, following, weight in zip(
            torch.split(self.alpha[:-1].flatten(0, 1), part),
            torch.split(self.following[1:].flatten(0, 1), part),
            torch.split(weights.flatten(), part),
            strict=True,
        ):
            pairs = alpha[:, :, None] + self.between + following[:, None, :]
            expected = expected + (weight @ pairs.flatten(1).softmax(-1)).view(size, size)
        return expected

    def onward(self, labels: Tensor, goes_on: Tensor, leaves: Tensor) -> Tensor:
        here, following = labels[:-1], labels[1:]
        step = self.between[here, following] + at(self.following[1:], following)
        leave = self.between.masked_fill(~leaves, -torch.inf)[here] + self.following[1:]
        return torch.where(goes_on, step, leave.logsumexp(-1)) - at(self.beta[:-1], here)


def infer(chain: Chain) -> Products | Logs:
    """Run both recursions."""
    scaling = 0
    if not torch.compiler.is_compiling() and chain.emissions.numel():
        scaling = scaling_of(chain.scores.cpu().numpy(), float(chain.emissions.min()))
    return Products.of(chain, scaling) if scaling else Logs.of(chain)


# The recursions -----------------------------------------------------------------------------------


class Steps:
    """The order in which the two recursions meet the words: the second from each sentence's last
    word on.

    Attributes:
        emissions: `[S, 2, B, K]` of the word that each step adds.
    """

    def __init__(self, chain: Chain):
        batch, words, size = chain.emissions.shape
        device = chain.mask.device
        # The word of each step of the second recursion, and the other way round.
        step = torch.arange(words, device=device)[:, None]
        turned = (chain.mask.sum(1) - 1 - step).clamp(min=0)  # [S, B]
        row = torch.arange(batch, device=device)
        order = torch.stack([step + 0 * turned, turned], 1) + words * row
        self.emissions = rows(chain.emissions.reshape(batch * words, size), order)
        self._second = (2 * turned + 1) * batch + row

    def second(self, values: Tensor) -> Tensor:
        """What the second recursion finds, of `[S, 2, B, K]`, as `[W, B, K]`; or, of twice the
        `[W, B, K]`, as `[S, B, K]`. Outside the mask it means nothing."""
        return rows(values.reshape(-1, values.shape[-1]), self._second)


def rows(values: Tensor, numbers: Tensor) -> Tensor:
    """`[N, K]` at the row numbers `[...]`: `[..., K]`."""
    found = values.index_select(0, numbers.flatten())
    return found.view(*numbers.shape, values.shape[-1])


def at(values: Tensor, labels: Tensor) -> Tensor:
    """`[..., K]` at labels `[...]`: `[...]`."""
    return values.gather(-1, labels[..., None])[..., 0]


def ends(scores: Tensor) -> tuple[Tensor, Tensor]:
    """What stands before the first step `[2, 1, K]`, and between two steps `[2, K, K]`."""
    return scores[:: len(scores) - 1, None], torch.stack([scores[1:-1], scores[1:-1].T])


def _product_loop(chain: Chain, scaling: int) -> tuple[np.ndarray, ...]:
    """The fields of `Products`."""
    emissions, scores, mask = (values.numpy() for values in chain)
    own = np.ascontiguousarray(emissions.swapaxes(0, 1))
    outside = None if mask.all() else ~mask.T[..., None]
    before, after, scale = recursions(scores, own, outside, scaling)
    # A tensor cannot be read backwards.
    beta, following, scale = (each[::-1, 1].copy() for each in (before, after, scale))
    alpha = after[:, 0]
    total = (alpha * beta).sum(-1, keepdims=True)
    return np.exp(scores[1:-1]), alpha, beta, following, total, scale[..., 0]


def _product_scan(scores: Tensor, emissions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights before and after each step's emissions `[S, 2, B, K]`, and by how much they were
    divided after the step `[S, 2, B, 1]`: every step but the first to a sum of 1. In log2 S steps.

    Args:
        scores, emissions: as weights.
    """
    first, between = ends(scores)

    def product(one: Tensor, two: Tensor) -> Tensor:
        matrices = one @ two
        return matrices / matrices.amax((-2, -1), keepdim=True)

    factors = between[:, None] * emissions[1:, :, :, None, :]  # [S - 1, 2, B, K, K]
    start = first * emissions[0]
    after = (start[..., None, :] @ scan(factors, product))[..., 0, :]
    after = torch.cat([start[None], after / after.sum(-1, keepdim=True)])
    before = torch.cat([first.expand_as(start)[None], after[:-1] @ between])
    scale = (before * emissions).sum(-1, keepdim=True)
    scale[0] = 1.0
    return before, before * emissions / scale, scale


def scan(factors: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`[N, ...]`: the product of the first, of the first two, of the first three, ... of `N`
    factors, in log2 N steps (Hillis and Steele, 1986).
    """
    reach = 1
    while reach < len(factors):
        longer = product(factors[:-reach], factors[reach:])
        factors = torch.cat([factors[:reach], longer])
        reach *= 2
    return factors


def logsumexps(scores: Tensor, emissions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-weights before and after each step's emissions `[S, 2, B, K]`, for any scores."""
    first, between = ends(scores)
    reached = first.expand_as(emissions[0])
    before, after = [reached], [reached + emissions[0]]
    for own in emissions[1:].unbind():
        reached = (after[-1][..., None] + between[:, None]).logsumexp(-2)
        before.append(reached)
        after.append(reached + own)
    return torch.stack(before), torch.stack(after)

"""Exact inference in a linear chain: sums over all label sequences.

    alpha[t, k]      the summed weight of all labels of words 0..t that end in k
    beta[t, k]       the summed weight of all labels of the words after t, if t has k
    following[t, k]  the same with that of word t's own emission
    Z                the summed weight of all label sequences
    p[t, k]          alpha[t, k] * beta[t, k] / Z, the marginals

* Both recursions run in one loop over the words, alpha from the first word and beta from the last.
* A step is a matrix product of weights in float64, scaled now and then, where the scores show that
  no weight that counts can underflow (`Products`). Else, and where the code is compiled or
  exported, it is a `logsumexp`, which is exact for any scores (`Logs`).
* On the CPU products are loops over NumPy arrays, whose calls are the cheapest. On other devices
  they are scans of log2 W steps over tensors, so that the number of kernels does not grow with W;
  their arithmetic is tested on the CPU, and they have not been timed on a GPU.
* What is made of products is written once for both kinds of array.

Shapes: `B` sentences, `W` >= 1 words, `K` labels, `S` = `W` steps of a recursion. A sentence's
words come first in its row.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .arrays_2mner import AnyArray, Array, array, at, flip, library, log, rows, tensor
from .decoding_2mner import IMPOSSIBLE

__all__ = [
    "PART",
    "Chain",
    "Logs",
    "Products",
    "Steps",
    "ends",
    "infer",
    "logsumexps",
    "scan",
]

PART = 2**20
"""Numbers that are worked on at once where a loop over all words would be slow, and all words at
once would need memory for `W * K * K` of them."""


class Chain(NamedTuple):
    """The scores of a batch of sentences: arrays where loops over them are the cheapest, which is
    on the CPU where nothing is traced; else tensors.

    Attributes:
        emissions: `[B, W, K]`; the largest of a word is 0, and all are 0 outside the mask.
        scores: `[K + 2, K]` at the start, from each label to each, at the end; `IMPOSSIBLE` for
            what is forbidden.
        mask: `[B, W]` bool.
        feasible: whether some label sequence of any length is allowed.
        full: whether all sentences are known to have `W` words.
    """

    emissions: AnyArray
    scores: AnyArray
    mask: AnyArray
    feasible: bool
    full: bool

    @classmethod
    def of(cls, emissions: Tensor, scores: Tensor, mask: Tensor, feasible: bool) -> "Chain":
        """The same of any emissions: what is added to all of a word's changes no probability."""
        emissions = emissions.to(scores.dtype)
        emissions = emissions - emissions.amax(-1, keepdim=True)
        traced = torch.compiler.is_compiling()
        full = not traced and bool(mask.all())
        if not full:
            emissions = emissions.masked_fill(~mask[..., None], 0.0)
        if traced or _launches_are_dear(emissions):
            return cls(emissions, scores, mask, feasible, full)
        return cls(array(emissions), array(scores), array(mask), feasible, full)

    def tensors(self) -> "Chain":
        """The same as tensors."""
        emissions, scores, mask, feasible, full = self
        return Chain(tensor(emissions), tensor(scores), tensor(mask), feasible, full)


# What the recursions find -------------------------------------------------------------------------


class Products(NamedTuple):
    """Weights; those of a word are scaled by some number, `alpha` by one, the others by another.

    Attributes:
        between: `[K, K]` from label to label.
        alpha, beta, following: `[W, B, K]`.
        total: `[W, B, 1]` the sum of `alpha * beta`.
        scale: `[S, B]` by how much each step of the second recursion was divided.
    """

    between: AnyArray
    alpha: AnyArray
    beta: AnyArray
    following: AnyArray
    total: AnyArray
    scale: AnyArray

    @classmethod
    def of(cls, chain: Chain, scaling: int) -> "Products":
        """`scaling` is that of `_product_loop`."""
        steps, of = Steps(chain), library(chain.scores)
        first, between = ends(of.exp(chain.scores))
        emissions = of.exp(steps.emissions)
        if isinstance(emissions, np.ndarray):
            found: tuple[AnyArray, ...] = _product_loop(first, between, emissions, scaling)
        else:
            found = _product_scan(first, between, emissions)
        before, after, scale = found
        alpha, beta, following = after[:, 0], steps.second(before), steps.second(after)
        total = (alpha * beta).sum(-1)[..., None]
        return cls(between[0], alpha, beta, following, total, scale[:, 1, :, 0])

    def log_z(self, mask: AnyArray) -> AnyArray:
        """`[B]`, of sentences with a mask `[W, B]`."""
        # Of the first word alpha is not scaled, and beta by what all steps before its own were.
        scales = library(mask).where(mask[1:], log(self.scale[:-1]), 0.0)
        return log(self.total[0, :, 0]) + scales.sum(0)

    def marginals(self) -> AnyArray:
        """`[W, B, K]`."""
        return self.alpha * self.beta / self.total

    def transitions(self, weights: AnyArray) -> AnyArray:
        """`[K, K]`: the expected number of each transition, weighted by `[W - 1, B]`."""
        size = len(self.between)
        goal = self.following[1:] * (weights[..., None] / self.total[:-1])
        return self.between * (self.alpha[:-1].reshape(-1, size).T @ goal.reshape(-1, size))

    def onward(self, labels: AnyArray, goes_on: AnyArray, leaves: AnyArray) -> AnyArray:
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
        found = library(labels).where(goes_on, step, leave) / at(self.beta[:-1], here)
        return log(found)


class Logs(NamedTuple):
    """The same as logarithms."""

    between: Tensor
    alpha: Tensor
    beta: Tensor
    following: Tensor

    @classmethod
    def of(cls, chain: Chain) -> "Logs":
        chain = chain.tensors()
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
    """Run both recursions. Products are of the chain's kind of array, logarithms are tensors."""
    scaling = _scaling(chain)
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
        of, device = library(chain.mask), chain.mask.device
        self._second: AnyArray = None
        if chain.full:
            forward = chain.emissions.swapaxes(0, 1)
            self.emissions: AnyArray = of.stack([forward, flip(forward)], 1)
            return
        # The word of each step of the second recursion, and the other way round.
        step = of.arange(words, device=device)[:, None]
        turned = (chain.mask.sum(1) - 1 - step).clip(0)  # [S, B]
        row = of.arange(batch, device=device)
        order = of.stack([step + 0 * turned, turned], 1) + words * row
        self.emissions = rows(chain.emissions.reshape(batch * words, size), order)
        self._second = (2 * turned + 1) * batch + row

    def second(self, values: AnyArray) -> AnyArray:
        """What the second recursion finds, of `[S, 2, B, K]`, as `[W, B, K]`; or, of twice the
        `[W, B, K]`, as `[S, B, K]`. Outside the mask it means nothing."""
        if self._second is None:
            return flip(values[:, 1])
        return rows(values.reshape(-1, values.shape[-1]), self._second)


def ends(scores: Array) -> tuple[Array, Array]:
    """What stands before the first step `[2, 1, K]`, and between two steps `[2, K, K]`."""
    between = library(scores).stack([scores[1:-1], scores[1:-1].T])
    return scores[:: len(scores) - 1, None], between


def _launches_are_dear(tensor: Tensor) -> bool:
    """Whether few large operations are better than many small ones."""
    return tensor.device.type != "cpu"


def _scaling(chain: Chain) -> int:
    """After how many steps products of weights have to be scaled; 0 if some could underflow before.

    Any allowed label is reached from any other in at most three steps, so that the weights of a
    word's labels differ by at most four times what the scores of one step differ by: a seventh of
    the exponents that the type has leaves room for some steps besides.
    """
    emissions, scores, _, feasible, _ = chain
    if torch.compiler.is_compiling() or 0 in emissions.shape or not feasible:
        return 0
    of = library(scores)
    size = of.where(scores < IMPOSSIBLE / 2, 0.0, abs(scores)).max()
    spread = float(2 * size - emissions.min())
    exponents = -math.log(of.finfo(emissions.dtype).tiny)
    if not spread < exponents / 7:  # nor if it is NaN
        return 0
    return max(1, int(0.28 * exponents / (spread + math.log(emissions.shape[-1]) + 1)))


def _product_loop(
    first: NDArray[Any], between: NDArray[Any], emissions: NDArray[Any], scaling: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Weights before and after each step's emissions `[S, 2, B, K]`, and by how much they were
    divided after the step `[S, 2, B, 1]`: every `scaling` steps, to a sum of 1.
    """
    before, after = np.empty_like(emissions), np.empty_like(emissions)
    scale = np.ones_like(emissions[..., :1])
    before[0] = first
    np.multiply(first, emissions[0], after[0])
    # Iterating is cheaper than taking one step after the other by its number.
    steps = zip(after, emissions[1:], before[1:], after[1:], scale[1:], strict=False)
    for step, (last, own, reached, weighted, total) in enumerate(steps, 1):
        np.matmul(last, between, reached)
        np.multiply(reached, own, weighted)
        if step % scaling == 0:
            np.sum(weighted, -1, keepdims=True, out=total)
            np.divide(weighted, total, weighted)
    return before, after, scale


def _product_scan(
    first: Tensor, between: Tensor, emissions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_product_loop`, every step but the first to a sum of 1, in log2 S steps."""

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

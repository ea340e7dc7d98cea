"""Exact inference in a linear chain: sums over all label sequences, their gradients, the best one.

    alpha[t, k]      the summed weight of all labels of words 0..t that end in k
    beta[t, k]       the summed weight of all labels of the words after t, if t has k
    following[t, k]  the same with that of word t's own emission
    Z                the summed weight of all label sequences
    p[t, k]          alpha[t, k] * beta[t, k] / Z, the marginals

* Both recursions run in one loop over the words, alpha from the first word and beta from the last.
* Autograd records no step of them: the gradient of log Z is the marginals and the expected number
  of each transition, and that of the log-marginals is a recursion of its own. Neither can be
  differentiated again.
* A step is a matrix product of weights in float64, scaled now and then, where the scores show that
  no weight that counts can underflow (`Products`). Else, and where the code is compiled or
  exported, it is a `logsumexp`, which is exact for any scores (`Logs`).
* On the CPU the loops over products are NumPy's, whose calls are the cheapest. On other devices
  they are scans of log2 W steps, so that the number of kernels does not grow with W; their
  arithmetic is tested on the CPU, and they have not been timed on a GPU.

Shapes: `B` sentences, `W` >= 1 words, `K` labels, `S` = `W` steps of a recursion. A sentence's
words come first in its row.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .decoding_2mner import IMPOSSIBLE
from .labels_2mner import UNKNOWN

__all__ = [
    "Chain",
    "Logs",
    "Products",
    "at",
    "best_labels",
    "infer",
    "log_likelihood",
    "log_marginals",
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
        feasible: whether some label sequence of any length is allowed.
        full: whether all sentences are known to have `W` words.
    """

    emissions: Tensor
    scores: Tensor
    mask: Tensor
    feasible: bool
    full: bool

    @classmethod
    def of(cls, emissions: Tensor, scores: Tensor, mask: Tensor, feasible: bool) -> "Chain":
        """The same of any emissions: what is added to all of a word's changes no probability."""
        emissions = emissions.to(scores.dtype)
        emissions = emissions - emissions.amax(-1, keepdim=True)
        full = not torch.compiler.is_compiling() and bool(mask.all())
        if not full:
            emissions = emissions.masked_fill(~mask[..., None], 0.0)
        return cls(emissions, scores, mask, feasible, full)


def at(values: Tensor, labels: Tensor) -> Tensor:
    """`[..., K]` at labels `[...]`: `[...]`."""
    return values.gather(-1, labels[..., None])[..., 0]


# What the recursions find -------------------------------------------------------------------------


class Products(NamedTuple):
    """Weights; those of a word are scaled by some number, `alpha` by one, the others by another.

    Attributes:
        between: `[K, K]` from label to label.
        alpha, beta, following: `[W, B, K]`.
        total: `[W, B, 1]` the sum of `alpha * beta`.
        scale: `[S, B]` by how much each step of the second recursion was divided.
    """

    between: Tensor
    alpha: Tensor
    beta: Tensor
    following: Tensor
    total: Tensor
    scale: Tensor

    @classmethod
    def of(cls, chain: Chain, scaling: int) -> "Products":
        steps, weights = Steps(chain), chain.scores.exp()
        first, between = _ends(weights)
        emissions = steps.emissions.exp_()
        if _launches_are_dear(emissions):
            before, after, scale = _product_scan(first, between, emissions)
        else:
            before, after, scale = _product_loop(first, between, emissions, scaling)
        alpha, beta, following = after[:, 0], steps.second(before), steps.second(after)
        total = (alpha * beta).sum(-1, keepdim=True)
        return cls(between[0], alpha, beta, following, total, scale[:, 1, :, 0])

    def log_z(self, mask: Tensor) -> Tensor:
        """`[B]`, of sentences with a mask `[W, B]`."""
        # Of the first word alpha is not scaled, and beta by what all steps before its own were.
        scales = self.scale[:-1].log().masked_fill(~mask[1:], 0.0)
        return self.total[0, :, 0].log() + scales.sum(0)

    def marginals(self) -> Tensor:
        """`[W, B, K]`."""
        return self.alpha * self.beta / self.total

    def transitions(self, weights: Tensor) -> Tensor:
        """`[K, K]`: the expected number of each transition, weighted by `[W - 1, B]`."""
        goal = self.following[1:] * (weights[..., None] / self.total[:-1])
        return self.between * (self.alpha[:-1].flatten(0, 1).T @ goal.flatten(0, 1))

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
        return (torch.where(goes_on, step, leave) / at(self.beta[:-1], here)).log_()


class Logs(NamedTuple):
    """The same as logarithms."""

    between: Tensor
    alpha: Tensor
    beta: Tensor
    following: Tensor

    @classmethod
    def of(cls, chain: Chain) -> "Logs":
        steps = Steps(chain)
        before, after = _logsumexps(chain.scores, steps.emissions)
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


class Known(NamedTuple):
    """The same of the one sequence that is known: `labels` `[W, B]`, any outside the mask."""

    scores: Tensor
    labels: Tensor
    weight: Tensor

    @classmethod
    def of(cls, chain: Chain, labels: Tensor) -> "Known":
        mask = chain.mask.T
        labels = labels.T.masked_fill(~mask, 0)
        here, following = labels[:-1], labels[1:]
        last = (mask.sum(0) - 1).clamp(min=0)
        weight = chain.scores[0, labels[0]] + chain.scores[-1, labels.gather(0, last[None])[0]]
        weight = weight + at(chain.emissions, labels.T).sum(1)
        steps = chain.scores[1 + here, following].masked_fill(~mask[1:], 0.0)
        return cls(chain.scores, labels, weight + steps.sum(0))

    def log_z(self, mask: Tensor) -> Tensor:
        return self.weight

    def marginals(self) -> Tensor:
        certain = self.scores.new_zeros(*self.labels.shape, self.scores.shape[1])
        return certain.scatter_(-1, self.labels[..., None], 1.0)

    def transitions(self, weights: Tensor) -> Tensor:
        found = torch.zeros_like(self.scores[1:-1])
        pair = self.labels[:-1] * len(found) + self.labels[1:]
        return found.flatten().index_add(0, pair.flatten(), weights.flatten()).view_as(found)


def infer(chain: Chain) -> Products | Logs:
    """Run both recursions."""
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
        self._second = None
        if chain.full:
            emissions = chain.emissions.transpose(0, 1)
            self.emissions = torch.stack([emissions, emissions.flip(0)], 1)
            return
        # The word of each step of the second recursion, and the other way round.
        step = torch.arange(words, device=chain.mask.device)[:, None]
        turned = (chain.mask.sum(1) - 1 - step).clamp_(min=0)  # [S, B]
        rows = torch.arange(batch, device=chain.mask.device)
        order = torch.stack([step.expand(words, batch), turned], 1) + words * rows
        flat = chain.emissions.reshape(batch * words, size).index_select(0, order.flatten())
        self.emissions = flat.view(words, 2, batch, size)
        self._second = ((2 * turned + 1) * batch + rows).flatten()

    def second(self, values: Tensor) -> Tensor:
        """What the second recursion finds, of `[S, 2, B, K]`, as `[W, B, K]`; or, of twice the
        `[W, B, K]`, as `[S, B, K]`. Outside the mask it means nothing."""
        if self._second is None:
            return values[:, 1].flip(0)
        words, _, batch, size = values.shape
        found = values.reshape(-1, size).index_select(0, self._second)
        return found.view(words, batch, size)


def _ends(scores: Tensor) -> tuple[Tensor, Tensor]:
    """What stands before the first step `[2, 1, K]`, and between two steps `[2, K, K]`."""
    return scores[:: len(scores) - 1, None], torch.stack([scores[1:-1], scores[1:-1].T])


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
    if torch.compiler.is_compiling() or emissions.numel() == 0 or not feasible:
        return 0
    size = scores.masked_fill(scores < IMPOSSIBLE / 2, 0.0).abs().amax()
    spread = (2 * size - emissions.amin()).item()
    exponents = -math.log(torch.finfo(emissions.dtype).tiny)
    if not spread < exponents / 7:  # nor if it is NaN
        return 0
    return max(1, int(0.28 * exponents / (spread + math.log(emissions.shape[-1]) + 1)))


def _product_loop(
    first: Tensor, between: Tensor, emissions: Tensor, scaling: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights before and after each step's emissions `[S, 2, B, K]`, and by how much they were
    divided after the step `[S, 2, B, 1]`: every `scaling` steps, to a sum of 1.
    """
    before, after = torch.empty_like(emissions), torch.empty_like(emissions)
    scale = torch.ones_like(emissions[..., :1])
    before[0] = first
    torch.mul(first, emissions[0], out=after[0])
    reached, weights, weighted = before.numpy(), emissions.numpy(), after.numpy()
    factors, sums = between.numpy(), scale.numpy()
    for step in range(1, len(weights)):
        np.matmul(weighted[step - 1], factors, out=reached[step])
        np.multiply(reached[step], weights[step], out=weighted[step])
        if step % scaling == 0:
            np.sum(weighted[step], -1, keepdims=True, out=sums[step])
            weighted[step] /= sums[step]
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
    after = (start[..., None, :] @ _scan(factors, product))[..., 0, :]
    after = torch.cat([start[None], after / after.sum(-1, keepdim=True)])
    before = torch.cat([first.expand_as(start)[None], after[:-1] @ between])
    scale = (before * emissions).sum(-1, keepdim=True)
    scale[0] = 1.0
    return before, before * emissions / scale, scale


def _scan(factors: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`[N, ...]`: the product of the first, of the first two, of the first three, ... of `N`
    factors, in log2 N steps (Hillis and Steele, 1986).
    """
    reach = 1
    while reach < len(factors):
        longer = product(factors[:-reach], factors[reach:])
        factors = torch.cat([factors[:reach], longer])
        reach *= 2
    return factors


def _logsumexps(scores: Tensor, emissions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-weights before and after each step's emissions `[S, 2, B, K]`, for any scores."""
    first, between = _ends(scores)
    reached = first.expand_as(emissions[0])
    before, after = [reached], [reached + emissions[0]]
    for own in emissions[1:].unbind():
        reached = (after[-1][..., None] + between[:, None]).logsumexp(-2)
        before.append(reached)
        after.append(reached + own)
    return torch.stack(before), torch.stack(after)


def _refuse_second_derivatives() -> None:
    """
    Raises:
        RuntimeError: if a gradient is computed such that it can be differentiated.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            "the CRF's likelihood and log-marginals can be differentiated once, not twice: "
            "found create_graph=True, expected False"
        )


# The likelihood and its gradient ------------------------------------------------------------------


def log_likelihood(
    emissions: Tensor, scores: Tensor, labels: Tensor, mask: Tensor, feasible: bool
) -> Tensor:
    """The log-probability of all label sequences that agree with the labels.

    Args:
        emissions: `[B, W, K]`, any.
        scores, mask, feasible: as in `Chain`.
        labels: `[B, W]` long; `UNKNOWN` agrees with every label.

    Returns:
        `[B]`, at most 0; 0 for a sentence without words.
    """
    found: Tensor = _LogLikelihood.apply(emissions, scores, labels, mask, feasible)  # type: ignore[no-untyped-call]
    return found


class _LogLikelihood(Function):
    """log Z of the sequences that agree less log Z of all. The gradient is what is expected among
    the first less what is expected among all.
    """

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, scores: Tensor, labels: Tensor, mask: Tensor, feasible: bool
    ) -> Tensor:
        chain = Chain.of(emissions, scores, mask, feasible)
        agreeing, every = _agreeing(chain, labels), infer(chain)
        ctx.kinds = type(agreeing), type(every)
        ctx.dtype = emissions.dtype
        ctx.save_for_backward(mask, *agreeing, *every)
        likelihood = (agreeing.log_z(mask.T) - every.log_z(mask.T)).clamp_(max=0.0)
        return likelihood.masked_fill(~mask[:, 0], 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivatives()
        mask, *saved = ctx.saved_tensors
        one, other = ctx.kinds
        agreeing, every = one(*saved[: len(one._fields)]), other(*saved[len(one._fields) :])
        weights = gradient * mask.T  # [W, B]
        difference = agreeing.marginals() - every.marginals()  # [W, B, K]
        difference = difference.masked_fill(~mask.T[..., None], 0.0) * gradient[:, None]
        transitions = agreeing.transitions(weights[1:]) - every.transitions(weights[1:])
        last = (mask & ~F.pad(mask[:, 1:], (0, 1))).T.to(difference).flatten()
        end = last @ difference.flatten(0, 1)
        scores = torch.cat([difference[0].sum(0)[None], transitions, end[None]])
        return difference.to(ctx.dtype).transpose(0, 1), scores, None, None, None


def _agreeing(chain: Chain, labels: Tensor) -> Products | Logs | Known:
    """What the recursions find where only sequences count that agree with the labels."""
    unknown = labels == UNKNOWN
    if not torch.compiler.is_compiling() and not (unknown & chain.mask).any():
        return Known.of(chain, labels)
    classes = torch.arange(chain.emissions.shape[-1], device=labels.device)
    disagrees = (labels[..., None] != classes) & (chain.mask & ~unknown)[..., None]
    # Twice: a label that is known is kept, though it is forbidden where it stands.
    emissions = chain.emissions.masked_fill(disagrees, 2 * IMPOSSIBLE)
    return infer(chain._replace(emissions=emissions))


# Log-marginals and their gradient -----------------------------------------------------------------


def log_marginals(emissions: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """The log-probability of each label of each word, with gradients.

    Args:
        emissions: `[B, W, K]`, any.
        scores, mask: as in `Chain`.

    Returns:
        `[B, W, K]`; a label that cannot be has a large negative number. Outside the mask they mean
        nothing.
    """
    found: Tensor = _LogMarginals.apply(emissions, scores, mask)  # type: ignore[no-untyped-call]
    return found


class _LogMarginals(Function):
    """Log-marginals. Their gradient goes back through both recursions at once:

        adjoint[s, i] = own[s, i] + sum_j share[s, i, j] * adjoint[s + 1, j]

    with `own` what the marginals of the step's word bring, and `share` the part of the weight that
    label j has before its emission at step s + 1 that comes from label i: the parts sum to 1.
    """

    @staticmethod
    def forward(ctx: Any, emissions: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        steps = Steps(Chain.of(emissions, scores, mask, True))
        before, after = _logsumexps(scores, steps.emissions)
        marginals = (after[:, 0] + steps.second(before)).log_softmax(-1)
        ctx.save_for_backward(scores, mask, before, after, marginals)
        ctx.steps, ctx.dtype = steps, emissions.dtype
        return marginals.transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivatives()
        scores, mask, before, after, marginals = ctx.saved_tensors
        outside = ~mask.T[..., None]
        gradient = gradient.transpose(0, 1)
        own = gradient - marginals.exp() * gradient.sum(-1, keepdim=True)
        own = own.masked_fill(outside, 0.0)  # [W, B, K]
        turned = ctx.steps.second(torch.stack([own, own], 1)).masked_fill(outside, 0.0)
        own = torch.stack([own, turned], 1)  # [S, 2, B, K]
        _, between = _ends(scores)
        transitions = torch.zeros_like(between)
        found = [own[-1]]
        for step in range(len(own) - 2, -1, -1):
            reached = before[step + 1][..., None, :]
            share = (after[step][..., None] + between[:, None] - reached).exp()
            flow = share * found[-1][..., None, :]  # [2, B, K, K]
            transitions = transitions + flow.sum(1)
            found.append(own[step] + flow.sum(-1))
        adjoints = torch.stack(found[::-1])
        # What the second recursion's own part is of, beta, has not the word's emissions in it.
        turned = ctx.steps.second(adjoints - own).masked_fill(outside, 0.0)
        start, end = adjoints[0].sum(1)
        forward, backward = transitions
        scores = torch.cat([start[None], forward + backward.T, end[None]])
        return (adjoints[:, 0] + turned).to(ctx.dtype).transpose(0, 1), scores, None


# The best sequence --------------------------------------------------------------------------------


def best_labels(chain: Chain) -> Tensor:
    """`[W, B]`: the most probable label sequence (Viterbi); past its last word a sentence repeats
    the last label.
    """
    scan = _launches_are_dear(chain.emissions) or torch.compiler.is_compiling()
    emissions = chain.emissions.transpose(0, 1)  # [W, B, K]
    size = emissions.shape[-1]
    first, between = chain.scores[0] + emissions[0], chain.scores[1:-1]
    best = (_best_scan if scan else _best_loop)(first, between, emissions[1:])
    reached = between.T.contiguous()  # [to, from]: what is compared stands together
    part = max(1, PART // (first.numel() * size + 1))
    parts = [(scores[..., None, :] + reached).argmax(-1) for scores in torch.split(best[:-1], part)]
    # [W - 1, B, K]: for each label of the words from the second on, the best label before it.
    previous = torch.cat(parts) if len(parts) > 1 else parts[0]
    last = best[-1]
    if not chain.full:
        last_word = (chain.mask.sum(1, keepdim=True) - 1).clamp_(min=0)  # [B, 1]
        last = best.gather(0, last_word.expand(-1, size)[None])[0]
        same = torch.arange(size, device=last.device)
        previous = torch.where(chain.mask.T[1:, :, None], previous, same)
    label = (last + chain.scores[-1]).argmax(-1)  # [B]
    if scan:
        previous = _scan(previous.flip(0), lambda one, two: two.gather(-1, one))
        path = at(previous, label.expand(previous.shape[:2]))
        return torch.cat([label[None], path]).flip(0)
    path = label.new_empty(len(previous) + 1, len(label))
    labels, table = path.numpy(), previous.flatten(1).numpy()
    rows = np.arange(0, table.shape[1], size)
    labels[-1] = label.numpy()
    for word in range(len(table) - 1, -1, -1):
        labels[word] = table[word].take(rows + labels[word + 1])
    return path


def _best_loop(first: Tensor, between: Tensor, emissions: Tensor) -> Tensor:
    """`[W, B, K]`: the score of the best labels of words `0..t` that end in each label."""
    steps = between.numpy()[:, :, None]
    own = emissions.transpose(1, 2).contiguous().numpy()
    best = np.empty((len(own) + 1, *first.T.shape))  # [W, K, B]
    best[0] = first.T.numpy()
    pairs = np.empty((len(steps), *best[0].shape))  # [from, to, B]
    for word in range(1, len(best)):
        np.add(best[word - 1, :, None], steps, out=pairs)
        np.maximum.reduce(pairs, 0, out=best[word])
        best[word] += own[word - 1]
    return torch.from_numpy(best).transpose(1, 2).contiguous()


def _best_scan(first: Tensor, between: Tensor, emissions: Tensor) -> Tensor:
    """As `_best_loop`, in log2 W steps."""

    def product(one: Tensor, two: Tensor) -> Tensor:
        best = one[..., :, :1] + two[..., :1, :]
        for label in range(1, one.shape[-1]):  # one by one: all at once would be K times as much
            best = torch.maximum(best, one[..., :, label, None] + two[..., label, None, :])
        return best

    factors = between + emissions[:, :, None, :]  # [W - 1, B, K, K]
    best = (first[..., None] + _scan(factors, product)).amax(-2)
    return torch.cat([first[None], best])

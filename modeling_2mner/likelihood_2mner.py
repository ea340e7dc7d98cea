"""The likelihood and the log-marginals of a linear chain, with their gradients in closed form.

Autograd records no step of a recursion: the gradient of log Z is the marginals and the expected
number of each transition, and that of the log-marginals is a recursion of its own. Neither can be
differentiated again.

Shapes: `B` sentences, `W` >= 1 words, `K` labels, `S` = `W` steps of a recursion.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .decoding_2mner import IMPOSSIBLE
from .labels_2mner import UNKNOWN
from .recursions_2mner import Chain, Logs, Products, Steps, at, ends, infer, logsumexps

__all__ = ["log_likelihood", "log_marginals"]


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


class Known(NamedTuple):
    """What the recursions would find of one sequence alone.

    Attributes:
        scores: of the chain.
        labels: `[W, B]` the sequence; any outside the mask.
        weight: `[B]` its score.
    """

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


def log_likelihood(emissions: Tensor, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """The log-probability of all label sequences that agree with the labels.

    Args:
        emissions: `[B, W, K]`, any.
        scores, mask: as in `Chain`.
        labels: `[B, W]` long; `UNKNOWN` agrees with every label.

    Returns:
        `[B]`, at most 0; 0 for a sentence without words.
    """
    found: Tensor = _LogLikelihood.apply(emissions, scores, labels, mask)  # type: ignore[no-untyped-call]
    return found


class _LogLikelihood(Function):
    """log Z of the sequences that agree less log Z of all. The gradient is what is expected among
    the first less what is expected among all.
    """

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, scores: Tensor, labels: Tensor, mask: Tensor
    ) -> Tensor:
        chain = Chain.of(emissions, scores, mask)
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
        return difference.to(ctx.dtype).transpose(0, 1), scores, None, None


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
        steps = Steps(Chain.of(emissions, scores, mask))
        before, after = logsumexps(scores, steps.emissions)
        marginals: Tensor = (after[:, 0] + steps.second(before)).log_softmax(-1)
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
        _, between = ends(scores)
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

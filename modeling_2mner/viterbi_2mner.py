"""The most probable label sequence of a linear chain (Viterbi, 1967), as tensors: in scans, whose
operations grow with log2 W. The loops that the CPU runs are in `decoding_2mner`.

Shapes: `B` sentences, `W` >= 1 words, `K` labels.
"""

import torch
from torch import Tensor

from .recursions_2mner import PART, Chain, at, rows, scan

__all__ = ["best_labels"]


def best_labels(chain: Chain) -> Tensor:
    """`[W, B]`: the most probable label sequence; past its last word a sentence repeats the last
    label.
    """
    start, between, end = chain.scores[0], chain.scores[1:-1], chain.scores[-1]
    best = _best_scores(start, between, chain.emissions.transpose(0, 1))
    words, batch, size = best.shape
    device = chain.mask.device
    pointers = _pointers(best[:-1], between)
    same = torch.arange(size, device=device)
    pointers = torch.where(chain.mask.T[1:, :, None], pointers, same)
    last_word = (chain.mask.sum(1) - 1).clamp(min=0)
    last = rows(
        best.reshape(words * batch, size), last_word * batch + torch.arange(batch, device=device)
    )
    label = (last + end).argmax(-1)
    # From the last pointers to the first.
    pointers = scan(pointers.flip(0), lambda one, two: two.gather(-1, one))
    path = at(pointers, label.expand(pointers.shape[:2]))
    return torch.cat([label[None], path]).flip(0)


def _best_scores(start: Tensor, between: Tensor, emissions: Tensor) -> Tensor:
    """`[W, B, K]`: the score of the best labels of words `0..t` that end in each label."""

    def product(one: Tensor, two: Tensor) -> Tensor:
        best = one[..., :, :1] + two[..., :1, :]
        for label in range(1, one.shape[-1]):  # one by one: all at once would be K times as much
            best = torch.maximum(best, one[..., :, label, None] + two[..., label, None, :])
        return best

    first = start + emissions[0]
    factors = between + emissions[1:, :, None, :]  # [W - 1, B, K, K]
    best = (first[..., None] + scan(factors, product)).amax(-2)
    return torch.cat([first[None], best])


def _pointers(best: Tensor, between: Tensor) -> Tensor:
    """`[W - 1, B, K]`: for each label of the words from the second on, the best label before it."""
    reached = between.T.contiguous()
    part = max(1, PART // (best.shape[1] * best.shape[2] ** 2 + 1))
    parts = [(scores[..., None, :] + reached).argmax(-1) for scores in torch.split(best, part)]
    return torch.cat(parts) if len(parts) > 1 else parts[0]

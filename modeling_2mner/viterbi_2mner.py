"""The most probable label sequence of a linear chain (Viterbi, 1967).

Where the chain holds arrays it is found in loops over the words, else in scans, whose operations
grow with log2 W.

Shapes: `B` sentences, `W` >= 1 words, `K` labels.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .arrays_2mner import AnyArray, at, library, rows
from .recursions_2mner import PART, Chain, scan

__all__ = ["best_labels"]

Ways: TypeAlias = tuple[Callable[..., AnyArray], ...]

CACHED = 2**16
"""Numbers of an array that the processor's cache holds while they are compared."""


def best_labels(chain: Chain) -> AnyArray:
    """`[W, B]`, an array or a tensor as the chain: the most probable label sequence; past its last
    word a sentence repeats the last label.
    """
    of = library(chain.scores)
    start, between, end = chain.scores[0], chain.scores[1:-1], chain.scores[-1]
    emissions = chain.emissions.swapaxes(0, 1)  # [W, B, K]
    words, batch, size = emissions.shape
    loops: Ways = _best_loop, _pointers_loop, _follow_loop
    scans: Ways = _best_scan, _pointers_scan, _follow_scan
    find_best, point, follow = loops if of is np else scans
    best = find_best(start, between, emissions)
    pointers = point(best[:-1], between)
    last = best[-1]
    if not chain.full:
        row = of.arange(batch, device=chain.mask.device)
        last_word = (chain.mask.sum(1) - 1).clip(0)
        last = rows(best.reshape(words * batch, size), last_word * batch + row)
        same = of.arange(size, device=chain.mask.device)
        pointers = of.where(chain.mask.T[1:, :, None], pointers, same)
    return follow(pointers, (last + end).argmax(-1))


def _best_loop(start: NDArray[Any], between: NDArray[Any], emissions: NDArray[Any]) -> NDArray[Any]:
    """`[W, B, K]`: the score of the best labels of words `0..t` that end in each label."""
    steps = between[:, :, None]
    own = np.ascontiguousarray(emissions.swapaxes(1, 2))  # [W, K, B]
    best = np.empty_like(own)
    np.add(start[:, None], own[0], best[0])
    pairs = np.empty((len(steps), *best[0].shape))  # [from, to, B]
    for last, word, reached in zip(best[:, :, None], own[1:], best[1:], strict=False):
        np.add(last, steps, pairs)
        np.maximum.reduce(pairs, 0, None, reached)
        np.add(reached, word, reached)
    return np.ascontiguousarray(best.swapaxes(1, 2))


def _best_scan(start: Tensor, between: Tensor, emissions: Tensor) -> Tensor:
    """As `_best_loop`, in log2 W steps."""

    def product(one: Tensor, two: Tensor) -> Tensor:
        best = one[..., :, :1] + two[..., :1, :]
        for label in range(1, one.shape[-1]):  # one by one: all at once would be K times as much
            best = torch.maximum(best, one[..., :, label, None] + two[..., label, None, :])
        return best

    first = start + emissions[0]
    factors = between + emissions[1:, :, None, :]  # [W - 1, B, K, K]
    best = (first[..., None] + scan(factors, product)).amax(-2)
    return torch.cat([first[None], best])


def _pointers_loop(best: NDArray[Any], between: NDArray[Any]) -> NDArray[Any]:
    """`[W - 1, B, K]`: for each label of the words from the second on, the best label before it."""
    words, batch, size = best.shape
    reached = np.ascontiguousarray(between.T)  # [to, from]: what is compared stands together
    found = np.empty(best.shape, np.int64)
    part = max(1, CACHED // (batch * size * size + 1))
    for word in range(0, words, part):
        pairs = best[word : word + part, :, None, :] + reached
        pairs.argmax(-1, found[word : word + part])
    return found


def _pointers_scan(best: Tensor, between: Tensor) -> Tensor:
    """The same."""
    reached = between.T.contiguous()
    part = max(1, PART // (best.shape[1] * best.shape[2] ** 2 + 1))
    parts = [(scores[..., None, :] + reached).argmax(-1) for scores in torch.split(best, part)]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _follow_loop(pointers: NDArray[Any], label: NDArray[Any]) -> NDArray[Any]:
    """`[W, B]`: the labels that pointers `[W - 1, B, K]` lead to from the last ones `[B]`."""
    words, batch, size = pointers.shape
    # A label's place in a row of pointers.
    first = np.arange(0, batch * size, size)
    tables = (pointers + first[:, None]).reshape(words, batch * size)
    path = np.empty((words + 1, batch), np.int64)
    path[-1] = label + first
    for table, after, before in zip(tables[::-1], path[::-1], path[-2::-1], strict=False):
        table.take(after, None, before, "clip")  # a mode that needs no buffer
    return path - first


def _follow_scan(pointers: Tensor, label: Tensor) -> Tensor:
    """As `_follow_loop`, in log2 W steps."""
    pointers = scan(pointers.flip(0), lambda one, two: two.gather(-1, one))
    path = at(pointers, label.expand(pointers.shape[:2]))
    return torch.cat([label[None], path]).flip(0)

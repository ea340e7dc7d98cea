"""Operations that NumPy arrays and tensors have under different names, so that what is made of
either is written once. A tensor keeps its device, and can be traced.

Shapes: `B` sentences, `W` words, `K` labels.
"""

from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "AnyArray",
    "Array",
    "alike",
    "array",
    "at",
    "flip",
    "library",
    "log",
    "rows",
    "run_sums",
    "tensor",
]

Array = TypeVar("Array", Tensor, NDArray[Any])

AnyArray: TypeAlias = Any
"""A tensor or an array, all of one kind in one place."""


def library(values: Array) -> Any:
    """NumPy or PyTorch, for the functions that are called alike in both."""
    return np if isinstance(values, np.ndarray) else torch


def array(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    """Either as an array; the memory is shared."""
    return values if isinstance(values, np.ndarray) else values.detach().numpy()


def tensor(values: Tensor | NDArray[Any]) -> Tensor:
    """Either as a tensor; the memory is shared."""
    return torch.from_numpy(values) if isinstance(values, np.ndarray) else values


def alike(values: Tensor | NDArray[Any], model: Array) -> Array:
    """Either as what the model is."""
    return array(values) if isinstance(model, np.ndarray) else tensor(values)


def flip(values: Array) -> Array:
    """A copy, the first axis reversed."""
    return values[::-1].copy() if isinstance(values, np.ndarray) else values.flip(0)


def log(values: Array) -> Array:
    """Minus infinity at 0, without a warning."""
    if isinstance(values, np.ndarray):
        with np.errstate(divide="ignore"):
            logs: NDArray[Any] = np.log(values)
            return logs
    return values.log()


def rows(values: Array, numbers: Array) -> Array:
    """`[N, K]` at the row numbers `[...]`: `[..., K]`."""
    if isinstance(values, np.ndarray):
        return values.take(numbers, 0)
    found = values.index_select(0, numbers.flatten())
    return found.view(*numbers.shape, values.shape[-1])


def at(values: Array, labels: Array) -> Array:
    """`[..., K]` at labels `[...]`: `[...]`."""
    if isinstance(values, np.ndarray):
        size = values.shape[-1]
        first = np.arange(0, values.size, size).reshape(labels.shape)
        found: NDArray[Any] = values.reshape(-1).take(first + labels)
        return found
    return values.gather(-1, labels[..., None])[..., 0]


def run_sums(values: Array, run: Array) -> Array:
    """`[W, B]`: of each word, the sum over the words of its column that are of the same run."""
    if isinstance(values, np.ndarray):
        place = run * run.shape[1] + np.arange(run.shape[1])
        found: NDArray[Any] = np.bincount(place.reshape(-1), values.reshape(-1))[place]
        return found
    return torch.zeros_like(values).scatter_add_(0, run, values).gather(0, run)

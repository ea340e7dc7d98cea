"""Checks of loaded weights: every tensor of the model is in its files, and every value is finite.

`from_pretrained` initialises a missing tensor at random, with a warning, and does not look at the
values. Both are errors here, which name the tensors.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

__all__ = ["check_finite", "check_missing", "naming_weights"]

MOST_NAMED = 5

LARGEST = 1e18
"""No trained weight comes near it; its square is still finite in float32, as a LayerNorm needs."""


def check_missing(name: str, missing: Iterable[str]) -> None:
    """Refuse a model whose files lack some of its tensors.

    Args:
        name: of the model, in the message.
        missing: the tensors that are not in the files.

    Raises:
        OSError: which names the first of them.
    """
    names = sorted(missing)
    if names:
        raise OSError(
            f"{name}: the weights lack {_listed(names)}; they are incomplete, or the "
            "configuration is another model's"
        )


@contextmanager
def naming_weights(name: str) -> Iterator[None]:
    """Turn an error in loading weights into one that names the model and what to do.

    Args:
        name: of the model, in the message.

    Raises:
        OSError: if a file is broken.
        RuntimeError: if the tensors have other shapes than the configuration says.
    """
    try:
        yield
    except SafetensorError as error:
        raise OSError(
            f"{name}: the weights (safetensors) are broken or cut short, fetch them again: {error}"
        ) from error
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise RuntimeError(
            f"{name}: the weights listed above have other shapes than the configuration says. For "
            "other labels than it was trained with, pass ignore_mismatched_sizes=True: their part "
            "then starts untrained"
        ) from error


@torch.no_grad()
def check_finite(name: str, tensors: Mapping[str, Tensor] | nn.Module) -> None:
    """Refuse weights that are not finite, or beyond `LARGEST`, in one pass. Tensors that are not in
    memory (`meta`, offloaded to disk) are left out.

    Args:
        name: of the model, in the message.
        tensors: by name, or a model.

    Raises:
        OSError: which names the first of them.
    """
    if isinstance(tensors, nn.Module):
        tensors = tensors.state_dict()
    wrong = []
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.is_meta and tensor.numel():
            # Eight-bit floats cannot be compared.
            values = tensor.float() if tensor.itemsize < 2 else tensor
            # `aminmax` of values with a NaN is NaN.
            if not all(abs(bound.item()) <= LARGEST for bound in values.aminmax()):
                wrong.append(f"{key} ({str(tensor.dtype).removeprefix('torch.')})")
    if wrong:
        raise OSError(
            f"{name}: the weights have NaN, infinity or numbers beyond {LARGEST:g} in "
            f"{_listed(wrong)}"
        )


def _listed(names: list[str]) -> str:
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")

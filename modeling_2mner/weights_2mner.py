"""What is loaded is whole: every tensor that a model needs is in its files, and every value finite.

A missing tensor is initialised at random by `from_pretrained`, with a warning, and a value that is
not finite spreads through a model without one. Both are errors here, which name the tensors.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

__all__ = ["check_finite", "check_missing"]

MOST_NAMED = 5

LARGEST = 1e18
"""No trained weight comes near it; its square is still finite in float32, as a LayerNorm needs."""


def check_missing(name: str, missing: Iterable[str]) -> None:
    """Refuse a model whose files lack some of its tensors.

    Args:
        name: of the model, in the message.
        missing: the tensors that were initialised in their place.

    Raises:
        OSError: which names the first of them.
    """
    missing = sorted(missing)
    if missing:
        raise OSError(
            f"{name}: the weights lack {_listed(missing)}; they are incomplete, or the "
            "configuration is another model's"
        )


@torch.no_grad()
def check_finite(name: str, tensors: Mapping[str, Tensor] | nn.Module) -> None:
    """Refuse weights that are not finite, or beyond `LARGEST`. One pass, which takes no memory;
    tensors that are not in memory (`meta`, offloaded to disk) are left out.

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
            # Eight-bit floats know no comparison.
            values = tensor.float() if tensor.itemsize < 2 else tensor
            # NaN is the least and the greatest wherever there is one.
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

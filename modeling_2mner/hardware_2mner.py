"""The number formats that the machine computes fast, and its number of cores."""

import os
import re
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["Int8Linear", "multiplies_bf16", "quantise_linear_layers", "usable_cores"]


def multiplies_bf16(
    device: torch.device | str = "cpu", cpuinfo: Path = Path("/proc/cpuinfo")
) -> bool:
    """Whether a device has instructions for bfloat16 products. Without them bfloat16 is slower than
    float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu" or not cpuinfo.exists():
        return False
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", cpuinfo.read_text("utf-8")))


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use, by its affinity and the quota of its container."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    if quota.exists():
        most, period = quota.read_text("ascii").split()
        if most != "max":
            cores = min(cores, -(-int(most) // int(period)))
    return max(1, cores)


class Int8Linear(nn.Module):
    """A linear layer in 8 bits, with a scale for each output and a scale for each row of the input.
    The result of a row does not depend on the other rows. Where products of 8 bits overflow
    (`products_overflow`), the weights have 7 bits.

    Args:
        linear: the layer that it replaces.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = _scale(weight, 63 if products_overflow() else 127)  # [out, 1]
        self.register_buffer("weight", (weight / scale).round().to(torch.int8).T.contiguous())
        self.register_buffer("scale", scale.T.contiguous())
        self.bias = linear.bias

    def forward(self, states: Tensor) -> Tensor:
        """`[..., in]` -> `[..., out]`."""
        rows = states.flatten(0, -2)
        scale = _scale(rows, 127)
        product = torch._int_mm((rows / scale).round_().to(torch.int8), self.weight)
        output = product.float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            output = output + self.bias
        return output.view(*states.shape[:-1], -1)


def _scale(rows: Tensor, largest: int) -> Tensor:
    """`[n, 1]`: the divisor of each row that leaves numbers of at most `largest`."""
    return (rows.abs().amax(-1, keepdim=True) / largest).clamp(min=1e-12)


@cache
def products_overflow() -> bool:
    """Whether the sum of two products of 8-bit numbers is cut to 16 bits in a matrix product, as by
    processors without VNNI instructions. With 7 bits on one side it fits.
    """
    full = torch.full((64, 64), 127, dtype=torch.int8)
    return bool((torch._int_mm(full, full) != 64 * 127 * 127).any())


def quantise_linear_layers(module: nn.Module) -> None:
    """Put an `Int8Linear` in place of each linear layer, for inference on a processor."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            quantise_linear_layers(child)

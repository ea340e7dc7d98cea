"""What this machine computes fast, and how many threads it has for it."""

import os
import re
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["Int8Linear", "multiplies_bf16", "quantise_linear_layers", "usable_cores"]


def multiplies_bf16(
    device: torch.device | str = "cpu", cpuinfo: Path = Path("/proc/cpuinfo")
) -> bool:
    """Whether a device multiplies bfloat16 matrices itself: without that bfloat16 is slower than
    float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu" or not cpuinfo.exists():
        return False
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", cpuinfo.read_text("utf-8")))


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use: by its affinity, and by its container's quota."""
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
    """A linear layer in 8 bits: a scale for each output of the weights, and one for each row of the
    inputs, found anew, so that no row changes what another one gives.

    Args:
        linear: the layer whose weights are taken over.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = _scale(weight)  # [out, 1]
        self.register_buffer("weight", (weight / scale).round().to(torch.int8).T.contiguous())
        self.register_buffer("scale", scale.T.contiguous())
        self.bias = linear.bias

    def forward(self, states: Tensor) -> Tensor:
        """`[..., in]` -> `[..., out]`."""
        rows = states.flatten(0, -2)
        scale = _scale(rows)
        product = torch._int_mm((rows / scale).round_().to(torch.int8), self.weight)
        output = product.float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            output = output + self.bias
        return output.view(*states.shape[:-1], -1)


def _scale(rows: Tensor) -> Tensor:
    """`[n, 1]`: what each row is divided by to lie within 8 bits."""
    return (rows.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-12)


def quantise_linear_layers(module: nn.Module) -> None:
    """Put an `Int8Linear` in place of each linear layer, for inference on a processor."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            quantise_linear_layers(child)

"""What this machine computes fast, and how many threads it has for it."""

import os
import re
import warnings
from pathlib import Path

import torch
from torch import nn

__all__ = ["multiplies_bf16", "quantise_linear_layers", "usable_cores"]


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


def quantise_linear_layers(module: nn.Module) -> None:
    """Give the linear layers 8-bit weights, in place, for a processor: they multiply in 8 bits, by
    a scale for each matrix that is found anew for each batch.

    Raises:
        ValueError: if PyTorch has no 8-bit products for this processor.
    """
    if torch.backends.quantized.engine == "none":
        raise ValueError("precision is 'int8', which this build of PyTorch does not have")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*quant.* deprecated", category=Warning)
        torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8, inplace=True)

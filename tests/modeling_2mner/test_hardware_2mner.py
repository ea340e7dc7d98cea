"""What the machine computes fast."""

import pytest
import torch

from modeling_2mner.hardware_2mner import (
    Int8Linear,
    multiplies_bf16,
    quantise_linear_layers,
    usable_cores,
)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : fpu avx512f avx512_bf16", True),
        ("flags : fpu amx_bf16 amx_tile", True),
        ("Features : asimd bf16", True),
        ("flags : fpu avx512f avx2", False),
    ],
)
def test_bf16_follows_the_processor(tmp_path, flags, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\n{flags}\n", encoding="utf-8")
    assert multiplies_bf16("cpu", cpuinfo) is expected
    assert multiplies_bf16("cpu", tmp_path / "nothing") is False
    assert multiplies_bf16(torch.device("meta"), cpuinfo) is False


def test_a_containers_quota_bounds_the_cores(tmp_path):
    quota = tmp_path / "cpu.max"
    without = usable_cores(quota)
    assert without >= 1
    for content, cores in (("50000 100000", 1), ("100000 100000", 1), ("max 100000", without)):
        quota.write_text(content)
        assert usable_cores(quota) == cores


def test_8_bit_products_fit_on_every_processor():
    """Large numbers of one sign, whose sums of two products do not fit into 16 bits."""
    linear = torch.nn.Linear(64, 64)
    torch.nn.init.uniform_(linear.weight, 0.9, 1.0)
    given = torch.empty(32, 64).uniform_(0.9, 1.0, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = Int8Linear(linear)(given)
        torch.testing.assert_close(found, linear(given), rtol=0.01, atol=0.0)


def test_8_bit_linear_layers_give_nearly_the_same_whatever_else_is_in_the_batch():
    torch.manual_seed(0)
    bare = torch.nn.Linear(64, 8, bias=False)
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), bare)
    given = torch.randn(2, 5, 64)
    given[1] *= 100
    with torch.no_grad():
        expected = module(given)
        quantise_linear_layers(module)
        found = module(given)
        alone = module(given[:1, :1])
    assert not any(isinstance(layer, torch.nn.Linear) for layer in module)
    assert 0 < (found - expected)[0].abs().max() < 0.05
    torch.testing.assert_close(alone, found[:1, :1])
    assert (module(torch.zeros(1, 1, 64)) - module(torch.zeros(3, 1, 64))[:1]).abs().max() == 0

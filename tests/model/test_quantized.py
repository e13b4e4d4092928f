"""Weights of a byte or half of one: the kernel computes with the rounded weights, and rounding is as fine as said."""

import pytest
import torch
from torch import nn

from model.errors import CheckpointError
from model.quantized import QuantizedLinear
from model.rounding import FORMATS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FINENESS = {"int8": 1 / 127, "fp8": 1 / 14, "int4": 1 / 7}
"""Largest error of a weight, as a share of the largest weight of its row or group; half a step, doubled."""


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 11, 70])
@pytest.mark.parametrize("weight_format", FORMATS)
def test_the_kernel_multiplies_by_the_rounded_weights(weight_format, rows, bias) -> None:
    torch.manual_seed(3)
    linear = nn.Linear(384, 50, bias=bias, device=DEVICE).requires_grad_(False)
    quantized = QuantizedLinear.of(linear, weight_format)
    x = torch.randn(rows, 384, device=DEVICE)
    expected = nn.functional.linear(x, quantized.dequantized(), linear.bias)
    torch.testing.assert_close(quantized(x), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.skipif(DEVICE == "cpu", reason="the interpreter does not know bfloat16")
@pytest.mark.parametrize("weight_format", FORMATS)
def test_the_kernel_in_bfloat16(weight_format) -> None:
    torch.manual_seed(3)
    linear = nn.Linear(256, 50, bias=False, device=DEVICE, dtype=torch.bfloat16).requires_grad_(False)
    quantized = QuantizedLinear.of(linear, weight_format)
    x = torch.randn(3, 256, device=DEVICE, dtype=torch.bfloat16)
    expected = nn.functional.linear(x.float(), quantized.dequantized())
    torch.testing.assert_close(quantized(x).float(), expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("weight_format", FORMATS)
def test_rounding_is_to_the_nearest(weight_format) -> None:
    torch.manual_seed(4)
    linear = nn.Linear(256, 40).requires_grad_(False)
    linear.weight[3] *= 100  # each row has a scale of its own
    quantized = QuantizedLinear.of(linear, weight_format)
    error = (quantized.dequantized() - linear.weight).abs()
    largest = linear.weight.abs().view(40, -1, 128).amax(2).repeat_interleave(128, dim=1)
    if weight_format != "int4":
        largest = largest.amax(1, keepdim=True)
    assert (error <= FINENESS[weight_format] / 2 * largest * 1.02).all()


def test_int4_needs_whole_groups() -> None:
    with pytest.raises(CheckpointError, match="100 inputs are no multiple of 128; take int8"):
        QuantizedLinear.of(nn.Linear(100, 4), "int4")

"""Weights of a byte or half of one: how they are rounded, to the nearest, with a scale for each output or group."""

from typing import Literal

import torch
from torch import Tensor

Format = Literal["int8", "fp8", "int4"]
FORMATS: tuple[Format, ...] = ("int8", "fp8", "int4")
GROUP = 128
"""Inputs that share a scale, in int4."""
_FP8_MAX = 448.0
_ROWS_AT_ONCE = 8192


def quantize(
    weight_NK: Tensor, weight_format: Format, scale_dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """The rounded weights and their scales.

    Weights: N × K int8 or float8_e4m3fn, or N × K/2 uint8 with inputs j and j + GROUP/2 of a group in one byte (int4).
    Scales: N, in `scale_dtype`, or N × K/GROUP in the weights' dtype for int4.
    """
    # Some rows at once: float32 copies of a whole head would not fit beside the rest.
    parts = [_quantize(rows_MK, weight_format, scale_dtype) for rows_MK in weight_NK.split(_ROWS_AT_ONCE)]
    weight, scales = (torch.cat(column) for column in zip(*parts, strict=True))
    return weight, scales


def _quantize(weight_NK: Tensor, weight_format: Format, scale_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    exact = weight_NK.to(torch.float32)
    if weight_format == "int4":
        groups = exact.view(len(exact), -1, GROUP)
        scales = (groups.abs().amax(2) / 7).clamp(min=1e-8).to(weight_NK.dtype)
        levels = (groups / scales.to(torch.float32)[:, :, None]).round().clamp(-8, 7).to(torch.int16) + 8
        low, high = levels.to(torch.uint8).chunk(2, dim=2)
        return (low | (high << 4)).flatten(1).contiguous(), scales.contiguous()
    largest = _FP8_MAX if weight_format == "fp8" else 127
    scales = (exact.abs().amax(1) / largest).clamp(min=1e-8).to(scale_dtype)
    scaled = exact / scales.to(torch.float32)[:, None]
    if weight_format == "fp8":
        return scaled.to(torch.float8_e4m3fn), scales
    return scaled.round().clamp(-127, 127).to(torch.int8), scales

# pyright: reportCallIssue=false, reportArgumentType=false
"""Linear layers whose weights take one byte or half of one: less memory, and less to read for each word.

Only the weights are rounded, to the nearest, each output's (int8, fp8) or each group of inputs' (int4) with a scale of
its own; the computation stays in the model's dtype, by a kernel that turns the weights back as it reads them.

Shapes: T rows, N outputs, K inputs, G inputs of a group.
"""

from typing import Self

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from model.errors import CheckpointError
from model.rounding import GROUP, Format, quantize


class QuantizedLinear(nn.Module):
    """In the place of a linear layer on a GPU, of N × K weights.

    weight: N × K int8 or float8_e4m3fn, or N × K/2 uint8 with inputs j and j + G/2 of a group in one byte (int4).
    scales: N, or N × K/G for int4.
    """

    def __init__(self, weight: Tensor, scales: Tensor, bias_N: Tensor | None, weight_format: Format) -> None:
        super().__init__()
        self.format = weight_format
        self.out_features, self.in_features = len(weight), weight.shape[1] * (2 if weight_format == "int4" else 1)
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias_N)

    @classmethod
    def of(cls, linear: nn.Linear, weight_format: Format) -> Self:
        """From a layer's own weights. Raises CheckpointError for sizes that the format cannot hold."""
        if weight_format == "int4" and linear.in_features % GROUP:
            raise CheckpointError(f"int4 weights: {linear.in_features} inputs are no multiple of {GROUP}; take int8")
        weight, scales = quantize(linear.weight.detach(), weight_format)
        return cls(weight, scales, None if linear.bias is None else linear.bias.detach(), weight_format)

    def forward(self, x_TK: Tensor) -> Tensor:
        """T × N."""
        return multiply(x_TK, self.weight, self.scales, self.bias, self.format)  # type: ignore[arg-type]

    def dequantized(self) -> Tensor:
        """The weights that it computes with, N × K float32."""
        assert isinstance(self.weight, Tensor)
        assert isinstance(self.scales, Tensor)
        if self.format != "int4":
            return self.weight.to(torch.float32) * self.scales.to(torch.float32)[:, None]
        groups = self.weight.view(self.out_features, -1, GROUP // 2)
        both = torch.cat((groups & 15, groups >> 4), dim=2).to(torch.float32) - 8
        return (both * self.scales.to(torch.float32)[:, :, None]).flatten(1)


def multiply(x_TK: Tensor, weight: Tensor, scales: Tensor, bias_N: Tensor | None, weight_format: Format) -> Tensor:
    """x · weightᵀ + bias, T × N in the dtype of x."""
    rows, inputs = x_TK.shape
    outputs = len(weight)
    out_TN = x_TK.new_empty((rows, outputs))
    row_block = min(128, max(16, triton.next_power_of_2(rows)))
    out_block, in_block, warps, stages = _blocks(row_block, outputs, weight_format)
    grid = (triton.cdiv(outputs, out_block), triton.cdiv(rows, row_block))
    _multiply[grid](
        x_TK,
        weight,
        scales,
        out_TN if bias_N is None else bias_N,
        out_TN,
        rows,
        outputs,
        inputs,
        FORMAT=weight_format,
        HAS_BIAS=bias_N is not None,
        ROWS=row_block,
        OUTS=out_block,
        INS=in_block,
        num_warps=warps,
        num_stages=stages,
    )
    return out_TN


def _blocks(row_block: int, outputs: int, weight_format: Format) -> tuple[int, int, int, int]:
    """Outputs and inputs of a block, warps and stages: what was fastest on an H100 at the sizes of an 8B decoder."""
    if row_block == 128:
        return (128, 64, 8, 4) if weight_format != "int4" and outputs > 8192 else (64, GROUP, 8, 3)
    if row_block > 16:
        return 64, GROUP, 4, 4
    if weight_format == "int4":
        return 32, GROUP, 2, 4
    return (32, 128, 4, 4) if outputs > 8192 else (32, 256, 4, 3)


@triton.jit
def _to_level(nibble, dtype: tl.constexpr):
    """0 … 15 → -8 … 7. In bfloat16, 128 to 143 differ in the last bits alone, which is faster than a conversion."""
    if dtype == tl.bfloat16:
        return (nibble.to(tl.int16) | 0x4300).to(tl.bfloat16, bitcast=True) - 136.0
    return nibble.to(dtype) - 8.0


@triton.jit(do_not_specialize=["num_rows"])
def _multiply(
    x_ptr, weight_ptr, scales_ptr, bias_ptr, out_ptr, num_rows, num_outs, num_ins,
    FORMAT: tl.constexpr, HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, OUTS: tl.constexpr, INS: tl.constexpr,
):  # fmt: skip
    out = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    has_out, has_row = out < num_outs, row < num_rows
    total = tl.zeros([ROWS, OUTS], tl.float32)
    if FORMAT == "int4":
        half = tl.arange(0, INS // 2)
        for first in range(0, num_ins, INS):
            packed = tl.load(
                weight_ptr + out[:, None] * (num_ins // 2) + (first // 2 + half)[None, :],
                mask=has_out[:, None],
                other=0,
            )
            x_at = x_ptr + row[:, None] * num_ins + (first + half)[None, :]
            x_low = tl.load(x_at, mask=has_row[:, None], other=0.0)
            x_high = tl.load(x_at + INS // 2, mask=has_row[:, None], other=0.0)
            low, high = _to_level(packed & 15, x_low.dtype), _to_level(packed >> 4, x_low.dtype)
            scales = tl.load(scales_ptr + out * (num_ins // INS) + first // INS, mask=has_out, other=0.0)
            part = tl.dot(x_low, tl.trans(low), input_precision="ieee")
            part = tl.dot(x_high, tl.trans(high), part, input_precision="ieee")
            total += part * scales.to(tl.float32)[None, :]
    else:
        ins = tl.arange(0, INS)
        for first in range(0, num_ins, INS):
            has_in = first + ins < num_ins
            weight = tl.load(
                weight_ptr + out[:, None] * num_ins + (first + ins)[None, :],
                mask=has_out[:, None] & has_in[None, :],
                other=0.0,
            )
            x = tl.load(
                x_ptr + row[:, None] * num_ins + (first + ins)[None, :],
                mask=has_row[:, None] & has_in[None, :],
                other=0.0,
            )
            total = tl.dot(x, tl.trans(weight.to(x.dtype)), total, input_precision="ieee")
        total *= tl.load(scales_ptr + out, mask=has_out, other=0.0)[None, :]
    if HAS_BIAS:
        total += tl.load(bias_ptr + out, mask=has_out, other=0.0).to(tl.float32)[None, :]
    at = out_ptr + row[:, None] * num_outs + out[None, :]
    tl.store(at, total.to(out_ptr.dtype.element_ty), mask=has_row[:, None] & has_out[None, :])

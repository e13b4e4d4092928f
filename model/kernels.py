# pyright: reportCallIssue=false, reportArgumentType=false
"""GPU kernels, in Triton, of one decoder pass over a KV ring: what lies between the matrix products.

Each reads the length of the cache from the device's memory, so that one CUDA graph serves a cache of any length. Where
transformers rounds to the model's dtype, so do these: the numbers are those of its code with SDPA, up to the order of
sums.

The first of `meta` (int64, on the device) is the number of positions in the cache before the pass, the second how many
of the T rows count; the rest of the rows is padding, which is computed and never kept.

Shapes: T rows of a pass, E decoder width, H query heads, K key heads, G = H / K, D head width, C cache capacity, I
width of the feed-forward layer, L layers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_SPLITS = 16
"""Most parts that the cache is cut into for one pass, each read by programs of its own (flash-decoding)."""

_SILU_BLOCK = 1024
_EVICT_BLOCK = 64


def add_rms_norm(x_TE: Tensor | None, residual_TE: Tensor, weight_E: Tensor, eps: float, out_TE: Tensor) -> None:
    """residual += x, unless x is None; out = the residual, normed by its root mean square, times weight."""
    rows, width = residual_TE.shape
    _add_rms_norm[(rows,)](
        residual_TE if x_TE is None else x_TE,
        residual_TE,
        weight_E,
        out_TE,
        width,
        eps,
        ADDS=x_TE is not None,
        BLOCK=triton.next_power_of_2(width),
        num_warps=8 if width >= 2048 else 4,
    )


@triton.jit
def _add_rms_norm(x_ptr, residual_ptr, weight_ptr, out_ptr, width, eps, ADDS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    ok = cols < width
    total = tl.load(residual_ptr + row * width + cols, mask=ok, other=0.0)
    if ADDS:
        x = tl.load(x_ptr + row * width + cols, mask=ok, other=0.0)
        total = (x.to(tl.float32) + total.to(tl.float32)).to(total.dtype)
        tl.store(residual_ptr + row * width + cols, total, mask=ok)
    exact = total.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(exact * exact) / width + eps)
    weight = tl.load(weight_ptr + cols, mask=ok, other=0.0)
    normed = (exact * scale).to(total.dtype)
    tl.store(out_ptr + row * width + cols, (weight.to(tl.float32) * normed.to(tl.float32)).to(total.dtype), mask=ok)


def rotate_and_store(
    qkv_TX: Tensor, cos_CD: Tensor, sin_CD: Tensor, meta: Tensor, keys_KCD: Tensor, values_KCD: Tensor
) -> None:
    """Rotate the queries in place; write the rotated keys and the values to where the pass begins in the cache.

    qkv_TX: T × (H + 2K)·D. cos_CD, sin_CD: by position, the two halves of D alike.
    """
    num_rows = qkv_TX.shape[0]
    kv_heads, capacity, width = keys_KCD.shape
    num_heads = qkv_TX.shape[1] // width
    _rotate_and_store[(num_rows, num_heads)](
        qkv_TX,
        cos_CD,
        sin_CD,
        meta,
        keys_KCD,
        values_KCD,
        num_heads - 2 * kv_heads,
        num_heads - kv_heads,
        num_heads,
        capacity,
        WIDTH=width,
        HALF=triton.next_power_of_2(width // 2),
        num_warps=1,
    )


@triton.jit
def _rotate_and_store(
    qkv_ptr, cos_ptr, sin_ptr, meta_ptr, keys_ptr, values_ptr, first_key, first_value, num_heads, capacity,
    WIDTH: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    position = tl.load(meta_ptr) + row
    counts = row < tl.load(meta_ptr + 1)
    cols = tl.arange(0, HALF)
    ok = cols < WIDTH // 2
    source = qkv_ptr + (row * num_heads + head) * WIDTH + cols
    low = tl.load(source, mask=ok, other=0.0)
    high = tl.load(source + WIDTH // 2, mask=ok, other=0.0)
    dtype = low.dtype
    if head < first_value:
        at = position * WIDTH + cols
        ok_at = ok & counts
        cos = tl.load(cos_ptr + at, mask=ok_at, other=0.0).to(tl.float32)
        sin = tl.load(sin_ptr + at, mask=ok_at, other=0.0).to(tl.float32)
        a, b = low.to(tl.float32), high.to(tl.float32)
        low = ((a * cos).to(dtype).to(tl.float32) - (b * sin).to(dtype).to(tl.float32)).to(dtype)
        high = ((b * cos).to(dtype).to(tl.float32) + (a * sin).to(dtype).to(tl.float32)).to(dtype)
    if head < first_key:
        tl.store(source, low, mask=ok)
        tl.store(source + WIDTH // 2, high, mask=ok)
    else:
        if head < first_value:
            target = keys_ptr + ((head - first_key) * capacity + position) * WIDTH + cols
        else:
            target = values_ptr + ((head - first_value) * capacity + position) * WIDTH + cols
        tl.store(target, low, mask=ok & counts)
        tl.store(target + WIDTH // 2, high, mask=ok & counts)


def attend(
    qkv_TX: Tensor, keys_KCD: Tensor, values_KCD: Tensor, meta: Tensor, scale: float, num_programs: int, out_TX: Tensor
) -> None:
    """Causal attention of T new positions over all of the cache that is in use, their own keys included.

    qkv_TX: as `rotate_and_store` leaves it. out_TX: T × H·D. num_programs: how many the GPU runs at a time; where the
    queries alone are fewer, the cache is cut into parts.
    """
    num_rows = qkv_TX.shape[0]
    kv_heads, capacity, width = keys_KCD.shape
    groups = qkv_TX.shape[1] // width // kv_heads - 2
    heads = groups * kv_heads
    block = min(64, max(16, triton.next_power_of_2(groups * num_rows)))
    num_blocks = triton.cdiv(groups * num_rows, block)
    splits = 1
    while splits < MAX_SPLITS and splits * num_blocks * kv_heads < num_programs:
        splits *= 2
    cols = max(16, triton.next_power_of_2(width))
    keys, stages = (64, 3) if cols * qkv_TX.element_size() <= 256 else (32, 2)  # the shared memory of smaller GPUs
    parts = torch.empty((splits, num_rows, heads, width), dtype=torch.float32, device=qkv_TX.device)
    weights = torch.empty((splits, num_rows, heads), dtype=torch.float32, device=qkv_TX.device)
    _attend[(num_blocks, kv_heads, splits)](
        qkv_TX,
        keys_KCD,
        values_KCD,
        meta,
        parts,
        weights,
        num_rows,
        qkv_TX.shape[1],
        capacity,
        scale * 1.4426950408889634,
        splits,
        GROUPS=groups,
        WIDTH=width,
        COLS=cols,
        ROWS=block,
        KEYS=keys,
        num_warps=4,
        num_stages=stages,
    )
    _merge[(num_rows * heads,)](
        parts,
        weights,
        out_TX,
        num_rows * heads,
        SPLITS=splits,
        WIDTH=width,
        COLS=cols,
        num_warps=1,
    )


@triton.jit(do_not_specialize=["num_rows", "splits"])
def _attend(
    qkv_ptr, keys_ptr, values_ptr, meta_ptr, parts_ptr, weights_ptr, num_rows, qkv_width, capacity, scale_log2e, splits,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr, COLS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    block, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start = tl.load(meta_ptr).to(tl.int32)
    count = tl.load(meta_ptr + 1).to(tl.int32)
    at = block * ROWS + tl.arange(0, ROWS)  # the G query heads of a row side by side, then the next row
    row = at // GROUPS
    head = kv_head * GROUPS + at % GROUPS
    cols = tl.arange(0, COLS)
    has_col = cols < WIDTH
    has_row = row < num_rows
    ok_RD = has_row[:, None] & has_col[None, :]
    queries = tl.load(qkv_ptr + row[:, None] * qkv_width + head[:, None] * WIDTH + cols[None, :], mask=ok_RD, other=0.0)

    end = start + tl.minimum((block * ROWS + ROWS - 1) // GROUPS + 1, count)  # beyond what any of these rows may see
    length = tl.cdiv(tl.cdiv(end, splits), KEYS) * KEYS
    first = split * length
    last = tl.minimum(first + length, end)
    keys_ptr += kv_head.to(tl.int64) * capacity * WIDTH
    values_ptr += kv_head.to(tl.int64) * capacity * WIDTH
    highest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, COLS], tl.float32)
    for offset in range(first, last, KEYS):
        position = offset + tl.arange(0, KEYS)
        is_kept = position < last
        keys = tl.load(
            keys_ptr + position[None, :] * WIDTH + cols[:, None], mask=is_kept[None, :] & has_col[:, None], other=0.0
        )
        scores = tl.dot(queries, keys, input_precision="ieee") * scale_log2e
        sees = is_kept[None, :] & (position[None, :] <= start + row[:, None])
        scores = tl.where(sees, scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        shares = tl.exp2(scores - base[:, None])
        kept = tl.exp2(highest - base)
        values = tl.load(
            values_ptr + position[:, None] * WIDTH + cols[None, :], mask=is_kept[:, None] & has_col[None, :], other=0.0
        )
        total = total * kept + tl.sum(shares, 1)
        mixed = mixed * kept[:, None] + tl.dot(shares.to(values.dtype), values, input_precision="ieee")
        highest = higher
    nonzero = tl.where(total == 0.0, 1.0, total)
    line = (split * num_rows + row) * (GROUPS * tl.num_programs(1)) + head
    tl.store(parts_ptr + line[:, None] * WIDTH + cols[None, :], mixed / nonzero[:, None], mask=ok_RD)
    tl.store(weights_ptr + line, tl.where(total == 0.0, float("-inf"), highest + tl.log2(nonzero)), mask=has_row)


@triton.jit(do_not_specialize=["num_lines"])
def _merge(parts_ptr, weights_ptr, out_ptr, num_lines, SPLITS: tl.constexpr, WIDTH: tl.constexpr, COLS: tl.constexpr):
    line = tl.program_id(0)
    split = tl.arange(0, SPLITS)
    cols = tl.arange(0, COLS)
    has_col = cols < WIDTH
    weights = tl.load(weights_ptr + split * num_lines + line)
    highest = tl.max(weights, 0)
    shares = tl.exp2(weights - tl.where(highest == float("-inf"), 0.0, highest))
    parts = tl.load(
        parts_ptr + (split[:, None] * num_lines + line) * WIDTH + cols[None, :], mask=has_col[None, :], other=0.0
    )
    mixed = tl.sum(parts * shares[:, None], 0) / tl.maximum(tl.sum(shares, 0), 1e-30)
    tl.store(out_ptr + line * WIDTH + cols, mixed.to(out_ptr.dtype.element_ty), mask=has_col)


def silu_and_multiply(gate_up_TX: Tensor, out_TI: Tensor) -> None:
    """out = silu(gate) · up. gate_up_TX: T × 2I, the gates first."""
    rows, width = out_TI.shape
    _silu_and_multiply[(rows, triton.cdiv(width, _SILU_BLOCK))](gate_up_TX, out_TI, width, BLOCK=_SILU_BLOCK)


@triton.jit
def _silu_and_multiply(gate_up_ptr, out_ptr, width, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    ok = cols < width
    gate = tl.load(gate_up_ptr + row * 2 * width + cols, mask=ok, other=0.0)
    up = tl.load(gate_up_ptr + row * 2 * width + width + cols, mask=ok, other=0.0)
    exact = gate.to(tl.float32)
    opened = (exact / (1.0 + tl.exp(-exact))).to(gate.dtype)
    tl.store(out_ptr + row * width + cols, (opened.to(tl.float32) * up.to(tl.float32)).to(gate.dtype), mask=ok)


def move_down(
    keys_LKCD: Tensor, values_LKCD: Tensor, cos_D: Tensor, sin_D: Tensor, start: int, stop: int, end: int
) -> None:
    """Positions [stop, end) of the cache to [start, …), in place and without other memory; keys are rotated on the way.

    cos_D, sin_D: float32, of the angles by which each channel turns.
    """
    layers, kv_heads, capacity, width = keys_LKCD.shape
    _move_down[(layers * kv_heads,)](
        keys_LKCD,
        values_LKCD,
        cos_D,
        sin_D,
        start,
        stop,
        end,
        capacity,
        WIDTH=width,
        HALF=triton.next_power_of_2(width // 2),
        BLOCK=_EVICT_BLOCK,
        num_warps=8,
    )


@triton.jit(do_not_specialize=["start", "stop", "end"])
def _move_down(
    keys_ptr, values_ptr, cos_ptr, sin_ptr, start, stop, end, capacity,
    WIDTH: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    base = tl.program_id(0).to(tl.int64) * capacity * WIDTH
    keys_ptr += base
    values_ptr += base
    cols = tl.arange(0, HALF)
    has_col = cols < WIDTH // 2
    cos = tl.load(cos_ptr + cols, mask=has_col, other=0.0)[None, :]
    sin = tl.load(sin_ptr + cols, mask=has_col, other=0.0)[None, :]
    for offset in range(0, end - stop, BLOCK):
        line = offset + tl.arange(0, BLOCK)
        ok = (line < end - stop)[:, None] & has_col[None, :]
        source = (stop + line)[:, None] * WIDTH + cols[None, :]
        target = (start + line)[:, None] * WIDTH + cols[None, :]
        low = tl.load(keys_ptr + source, mask=ok, other=0.0)
        high = tl.load(keys_ptr + source + WIDTH // 2, mask=ok, other=0.0)
        value_low = tl.load(values_ptr + source, mask=ok, other=0.0)
        value_high = tl.load(values_ptr + source + WIDTH // 2, mask=ok, other=0.0)
        a, b = low.to(tl.float32), high.to(tl.float32)
        tl.debug_barrier()  # all of a block is read before any of it is written: the two may overlap
        tl.store(keys_ptr + target, (a * cos - b * sin).to(low.dtype), mask=ok)
        tl.store(keys_ptr + target + WIDTH // 2, (b * cos + a * sin).to(low.dtype), mask=ok)
        tl.store(values_ptr + target, value_low, mask=ok)
        tl.store(values_ptr + target + WIDTH // 2, value_high, mask=ok)
        tl.debug_barrier()

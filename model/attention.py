"""SDPA for grouped-query attention without repeating the key and value heads.

The query heads of one group are laid side by side as further query rows of their one key head, so that the cache is
read where it lies. transformers repeats keys and values instead whenever there is a mask, which copies the cache once a
layer and frame. Same numbers, and most of the time at long caches on a CPU.

Shapes: B batch, H query heads, K key heads, G = H / K, T query positions, S key positions, D head width.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

GROUPED_SDPA = "grouped_sdpa"


def register() -> str:
    """Make the function known to transformers; returns the name to ask for. May be called again."""
    ALL_ATTENTION_FUNCTIONS.register(GROUPED_SDPA, grouped_sdpa)
    ALL_MASK_ATTENTION_FUNCTIONS.register(GROUPED_SDPA, sdpa_mask)
    return GROUPED_SDPA


def grouped_sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """query B×H×T×D, key and value B×K×S×D, mask B×1×T×S (True or 0 = look) → B×T×H×D.

    The signature is transformers' own. Without a mask and with several positions it is causal from the start of the
    sequence: that case goes to transformers' function unchanged.
    """
    batch, heads, length, width = query.shape
    groups = heads // key.shape[1]
    if groups == 1 or (attention_mask is None and length > 1):
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal
        )
        return output, None
    rows = query.reshape(batch, heads // groups, groups * length, width)
    mask = None if attention_mask is None else attention_mask[..., : key.shape[2]].repeat(1, 1, groups, 1)
    mixed = F.scaled_dot_product_attention(rows, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
    return mixed.reshape(batch, heads, length, width).transpose(1, 2).contiguous(), None

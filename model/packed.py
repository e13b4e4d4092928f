"""A byte for each weight of a linear layer on a CPU, instead of float32's four; embeddings stay as they are.

The product is torch's own (`aten::_weight_int8pack_mm`): inputs are rounded to bfloat16, sums are exact to float32.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.errors import CheckpointError
from model.rounding import quantize

STEP = 16
"""Inputs come in multiples of so many; torch's kernel reads past the end of others."""


class PackedLinear(nn.Module):
    """In the place of a linear layer on a CPU. weight: N × K int8; scales: N bfloat16."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.out_features, self.in_features = linear.weight.shape
        weight, scales = quantize(linear.weight.detach(), "int8", torch.bfloat16)
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """… × K → … × N, in the dtype of x."""
        rows = x.reshape(-1, self.in_features).to(torch.bfloat16).contiguous()
        product = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scales)
        if self.bias is not None:
            product = product + self.bias
        return product.to(x.dtype).view(*x.shape[:-1], self.out_features)


def pack(decoder: PreTrainedModel) -> None:
    """Replace the linear layers of a decoder, its head too, by packed ones; its embedding stays, and odd widths do.

    Raises CheckpointError for a decoder whose weights are mostly something else, such as experts.
    """
    packed = 0
    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child.in_features % STEP == 0:
                setattr(parent, name, PackedLinear(child))
                packed += child.in_features * child.out_features
    embedding = decoder.get_input_embeddings().weight
    left = sum(weight.numel() for weight in decoder.parameters() if weight is not embedding)
    if packed < left:
        share, kind = packed / (packed + left), decoder.config.model_type
        raise CheckpointError(
            f"weights = 'int8': only {share:.0%} of this {kind}'s weights can be packed; leave it out"
        )

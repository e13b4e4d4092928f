"""A byte for each weight of a linear layer on a CPU, instead of float32's four; embeddings stay as they are.

The product is torch's own (`aten::_weight_int8pack_mm`): inputs are rounded to bfloat16, sums are exact to float32.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.rounding import quantize

_ROWS_AT_ONCE = 8192


class PackedLinear(nn.Module):
    """In the place of a linear layer on a CPU. weight: N × K int8; scales: N bfloat16; what comes out is as what goes
    in.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.out_features, self.in_features = linear.weight.shape
        exact = linear.weight.detach().split(_ROWS_AT_ONCE)
        parts = [quantize(rows, "int8", torch.bfloat16) for rows in exact]
        weight, scales = (torch.cat(column) for column in zip(*parts, strict=True))
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """… × K → … × N, in the dtype of x."""
        rows = x.reshape(-1, self.in_features).to(torch.bfloat16)
        product = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scales)
        if self.bias is not None:
            product = product + self.bias
        return product.to(x.dtype).view(*x.shape[:-1], self.out_features)


def pack(decoder: PreTrainedModel) -> None:
    """Replace every linear layer of a decoder, its head too, by a packed one; its embedding stays."""
    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child))

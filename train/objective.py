"""The objective: one forward pass over whole dialogues, a loss on what should be said and when.

Shapes: B dialogues, T tokens, L labelled positions, N tokens a frame, F feature width, D decoder width, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.grammar import IGNORE_ID
from train.recipe import ObjectivePart


def embed_dialogues(
    decoder: PreTrainedModel,
    connector: nn.Module,
    input_ids_BT: Tensor,
    features: Sequence[Tensor],
    placeholder_id: int,
) -> Tensor:
    """Decoder inputs B×T×D: token embeddings, and frame tokens where `placeholder_id` stands.

    features: the vision features of all dialogues (frames × N × F each) in order.
    """
    is_frame_BT = input_ids_BT == placeholder_id
    embed = decoder.get_input_embeddings()
    embeds_BTD = embed(input_ids_BT.masked_fill(is_frame_BT, 0))
    weight = next(connector.parameters())
    flat = torch.cat([f.flatten(0, 1) for f in features]).to(weight.device, weight.dtype)
    return embeds_BTD.masked_scatter(is_frame_BT[..., None], connector(flat).to(embeds_BTD.dtype))


def streaming_loss(logits_BTV: Tensor, labels_BT: Tensor, decides_BT: Tensor, tau: float = 1.0) -> Tensor:
    """LM loss + τ · EOS loss (VideoLLM-online, equation 4).

    Cross-entropy at each labelled position, weighted τ where a decision is taken and 1 elsewhere, divided by
    the number of labelled positions. labels: IGNORE_ID where nothing is learned; already shifted.
    """
    is_learned_BT = labels_BT != IGNORE_ID
    total, count = summed_loss(
        logits_BTV[is_learned_BT], labels_BT[is_learned_BT], decides_BT[is_learned_BT], ObjectivePart(tau=tau)
    )
    return total / count


def summed_loss(
    logits_LV: Tensor, labels_L: Tensor, decides_L: Tensor, part: ObjectivePart, silence_id: int = -1
) -> tuple[Tensor, Tensor]:
    """The weighted sum of the losses at labelled positions, and the number of positions it stands for.

    Words get cross-entropy; decisions get the recipe's loss, times τ and, where silence is right, its weight.
    """
    losses_L = F.cross_entropy(logits_LV.to(torch.float32), labels_L, reduction="none")
    weights_L = torch.where(decides_L, part.tau, 1.0)
    if part.silence_weight != 1.0:
        weights_L = torch.where(decides_L & (labels_L == silence_id), weights_L * part.silence_weight, weights_L)
    count = torch.tensor(len(labels_L), device=labels_L.device)  # an integer, which no mixed precision rounds
    if part.loss == "focal":
        easiness_L = (1 - torch.exp(-losses_L.detach())) ** part.focal_gamma
        weights_L = torch.where(decides_L, weights_L * easiness_L, weights_L)
    elif part.loss == "ohem":
        num_decisions = int(decides_L.sum())
        num_kept = math.ceil(num_decisions * part.ohem_share)
        if num_kept < num_decisions:
            easy = losses_L.detach().masked_fill(~decides_L, torch.inf).topk(num_decisions - num_kept, largest=False)
            weights_L = weights_L.index_fill(0, easy.indices, 0.0)
            count = count - (num_decisions - num_kept)
    return (losses_L * weights_L).sum(), count

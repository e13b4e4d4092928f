"""The objective: one forward pass over whole dialogues, a loss on what should be said and when.

Shapes: B dialogues, T tokens, L labelled positions, P positions of frame tokens, N tokens a frame, F feature width,
D decoder width, V vocabulary.
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
    frame_tokens_P: Tensor | None = None,
) -> Tensor:
    """Decoder inputs B×T×D: token embeddings, and frame tokens where `placeholder_id` stands.

    features: the vision features of all dialogues (frames × N × F each) in order. frame_tokens_P: where the placeholder
    stands in the B·T positions, if that is known; to look it up is to wait for the GPU.
    """
    is_frame_BT = input_ids_BT == placeholder_id
    if frame_tokens_P is None:
        frame_tokens_P = is_frame_BT.flatten().nonzero().flatten()
    embed = decoder.get_input_embeddings()
    embeds_BTD = embed(input_ids_BT.masked_fill(is_frame_BT, 0))
    weight = next(connector.parameters())
    flat = torch.cat([f.flatten(0, 1) for f in features]).to(weight.device, weight.dtype)
    frames_PD = connector(flat).to(embeds_BTD.dtype)
    return embeds_BTD.flatten(0, 1).index_copy(0, frame_tokens_P, frames_PD).view_as(embeds_BTD)


def streaming_loss(logits_BTV: Tensor, labels_BT: Tensor, decides_BT: Tensor, tau: float = 1.0) -> Tensor:
    """LM loss + τ · EOS loss (VideoLLM-online, equation 4).

    Cross-entropy at each labelled position, weighted τ where a decision is taken and 1 elsewhere, divided by
    the number of labelled positions. labels: IGNORE_ID where nothing is learned; already shifted.
    """
    is_learned_BT = labels_BT != IGNORE_ID
    labels_L, decides_L = labels_BT[is_learned_BT], decides_BT[is_learned_BT]
    losses_L = cross_entropies(logits_BTV[is_learned_BT], labels_L)
    return (losses_L * torch.where(decides_L, tau, 1.0)).sum() / len(labels_L)


def cross_entropies(logits_LV: Tensor, labels_L: Tensor) -> Tensor:
    """The loss at each labelled position, float32."""
    return F.cross_entropy(logits_LV.to(torch.float32), labels_L, reduction="none")


def summed_loss(
    losses_L: Tensor, is_silence_L: Tensor, decides_L: Tensor, num_decisions: int, part: ObjectivePart
) -> tuple[Tensor, Tensor]:
    """The weighted sum of the cross-entropies at labelled positions, and the number of positions it stands for.

    Words count as they are; decisions get the recipe's loss, times τ and, where silence is right, its weight.
    is_silence: where the label is the silence token. num_decisions: how often `decides` is true.
    """
    weights_L = torch.where(decides_L, part.tau, 1.0)
    if part.silence_weight != 1.0:
        weights_L = torch.where(decides_L & is_silence_L, weights_L * part.silence_weight, weights_L)
    num_positions = len(losses_L)
    if part.loss == "focal":
        easiness_L = (1 - torch.exp(-losses_L.detach())) ** part.focal_gamma
        weights_L = torch.where(decides_L, weights_L * easiness_L, weights_L)
    elif part.loss == "ohem":
        num_easy = num_decisions - math.ceil(num_decisions * part.ohem_share)
        if num_easy:
            easy = losses_L.detach().masked_fill(~decides_L, torch.inf).topk(num_easy, largest=False)
            weights_L = weights_L.index_fill(0, easy.indices, 0.0)
            num_positions -= num_easy
    # An integer, which no mixed precision rounds; filled in on the device, where a copy would be waited for.
    count = torch.full((), num_positions, device=losses_L.device)
    return (losses_L * weights_L).sum(), count

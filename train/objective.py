"""The streaming objective: one forward pass over whole dialogues, cross-entropy on what should be said and when.

Shapes: B dialogues, T tokens, N tokens a frame, F feature width, D decoder width, V vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.grammar import IGNORE_ID


def embed_dialogues(
    decoder: PreTrainedModel,
    connector: nn.Module,
    input_ids_BT: Tensor,
    features: Sequence[Tensor],
    placeholder_id: int,
) -> Tensor:
    """Decoder inputs B×T×D: token embeddings, and frame tokens where `placeholder_id` stands.

    features: for each dialogue, its frames' vision features (frames × N × F) in order.
    """
    is_frame_BT = input_ids_BT == placeholder_id
    embed = decoder.get_input_embeddings()
    embeds_BTD = embed(input_ids_BT.masked_fill(is_frame_BT, 0))
    weight = next(connector.parameters())
    flat = torch.cat([f.flatten(0, 1) for f in features]).to(weight.device, weight.dtype)
    return embeds_BTD.masked_scatter(is_frame_BT[..., None], connector(flat).to(embeds_BTD.dtype))


def streaming_loss(logits_BTV: Tensor, labels_BT: Tensor, is_frame_BT: Tensor, tau: float = 1.0) -> Tensor:
    """LM loss + τ · EOS loss (VideoLLM-online, equation 4).

    Cross-entropy at each labelled position, weighted τ where the position is a frame's and 1 elsewhere, divided by
    the number of labelled positions. labels: IGNORE_ID where nothing is learned; already shifted.
    """
    losses_BT = F.cross_entropy(
        logits_BTV.flatten(0, 1).to(torch.float32),
        labels_BT.flatten(),
        ignore_index=IGNORE_ID,
        reduction="none",
    )
    weights_BT = torch.where(is_frame_BT.flatten(), tau, 1.0)
    return (losses_BT * weights_BT).sum() / (labels_BT != IGNORE_ID).sum()

"""A clip run once with its true replies in place: the paper's metrics, and how much p(silence) can be believed.

Shapes: T tokens, L labelled positions, N tokens a frame, F feature width, D decoder width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from model.cache import KVRing
from model.decoder import append, make_ring
from model.grammar import IGNORE_ID, AssistantTurn, Cursor
from model.videolm import VideoLM
from train.clip import Clip
from train.dialogue import annotate, to_turns
from train.objective import embed_dialogues
from train.scoring.metrics import StreamMetrics, stream_metrics

NO_TURNS = StreamMetrics(1.0, 0.0, 1.0, 1.0)
"""A dialogue in which nobody speaks scores perfectly."""


@dataclass(frozen=True)
class Forced:
    """What one pass over the true dialogue says.

    metrics: the paper's four. of_remarks: the same over turns that end in a remark alone. silence_probs: p(silence) at
    every learned frame. silent: whether it was right there.
    """

    metrics: StreamMetrics
    of_remarks: StreamMetrics
    silence_probs: list[float]
    silent: list[bool]


def teacher_forced(model: VideoLM, clip: Clip, features_TNF: Tensor, threshold: float) -> StreamMetrics:
    """The paper's metrics of one clip at one silence threshold."""
    return force(model, clip, features_TNF, threshold).metrics


@torch.inference_mode()
def force(model: VideoLM, clip: Clip, features_TNF: Tensor, threshold: float) -> Forced:
    """One clip with its true replies in place; any thread may call it."""
    grammar = model.grammar
    turns = to_turns(annotate(clip), answers_after_frame=grammar.template.answers_after_frame)
    rendered = grammar.render(turns)
    ids, labels = rendered.input_ids, torch.tensor(rendered.labels)
    between, closing = grammar.before_frame(Cursor("frame")), grammar.before_decision
    step = between[len(closing) :] + [grammar.placeholder_id] * grammar.spec.num_frame_tokens + closing
    ring = make_ring(model.decoder, 2 * len(ids))  # nobody looks further ahead than a turn is long

    def embed(some: list[int], frames_TNF: Tensor) -> Tensor:
        ids_1T = torch.tensor([some], device=model.device)
        return embed_dialogues(model.decoder, model.connector, ids_1T, [frames_TNF], grammar.placeholder_id)[0]

    def look_ahead(num_tokens: int, first_frame: int, count: int) -> Tensor:
        embeds_TD = embed(step * count, features_TNF[first_frame : first_frame + count])
        return peek(model.decoder, ring, num_tokens, embeds_TD, range(len(step) - 1, len(embeds_TD), len(step)))

    learned = (labels != IGNORE_ID).nonzero()[:, 0]
    kept_LV = append(model.decoder, ring, embed(ids, features_TNF), learned.tolist()).cpu()
    full_TV = kept_LV.new_zeros(len(ids), kept_LV.shape[-1])
    full_TV[learned] = kept_LV
    decides_L = torch.tensor(rendered.decides)[learned]
    has_replies = any(isinstance(turn, AssistantTurn) for turn in turns)
    every, of_remarks = (
        stream_metrics(rendered, full_TV, grammar, threshold, look_ahead, remarks_only=only)
        if has_replies
        else NO_TURNS
        for only in (False, True)
    )
    return Forced(
        every,
        of_remarks,
        kept_LV[decides_L].softmax(-1)[:, grammar.silence_id].tolist(),
        (labels[learned][decides_L] == grammar.silence_id).tolist(),
    )


@torch.inference_mode()
def peek(decoder: PreTrainedModel, ring: KVRing, num_tokens: int, embeds_TD: Tensor, wanted: Sequence[int]) -> Tensor:
    """Logits at the `wanted` offsets if these T embeddings followed the first `num_tokens`; the ring is as it was."""
    length = ring.num_tokens
    stop = min(length, num_tokens + len(embeds_TD))
    buffers = [buffer for layer in ring.rings for buffer in layer.buffers()]
    covered = [buffer[:, :, num_tokens:stop].clone() for buffer in buffers]
    ring.rollback(num_tokens)
    logits = append(decoder, ring, embeds_TD, list(wanted))
    for buffer, tail in zip(buffers, covered, strict=True):
        buffer[:, :, num_tokens:stop] = tail
    for layer in ring.rings:
        layer.num_tokens = length
    return logits

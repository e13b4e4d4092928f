"""A clip run once with its true replies in place: the paper's metrics, and how much p(silence) can be believed.

Shapes: T tokens, L labelled positions, N tokens a frame, F feature width, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.grammar import IGNORE_ID, AssistantTurn, Cursor
from model.videolm import VideoLM
from train.dialogue import annotate, to_turns
from train.metrics import StreamMetrics, stream_metrics
from train.objective import embed_dialogues


NO_TURNS = StreamMetrics(1.0, 0.0, 1.0, 1.0)
"""A dialogue in which nobody speaks scores perfectly."""


@dataclass(frozen=True)
class Forced:
    """What one pass over the true dialogue says.

    metrics: the paper's four. silence_probs: p(silence) at every learned frame. silent: whether it was right there.
    """

    metrics: StreamMetrics
    silence_probs: list[float]
    silent: list[bool]


def teacher_forced(model: VideoLM, meta: dict, features_TNF: Tensor, threshold: float) -> StreamMetrics:
    """The paper's metrics of one clip, its description in `meta`, at one silence threshold."""
    return force(model, meta, features_TNF, threshold).metrics


@torch.inference_mode()
def force(model: VideoLM, meta: dict, features_TNF: Tensor, threshold: float) -> Forced:
    """One clip with its true replies in place."""
    grammar = model.grammar
    turns = to_turns(annotate(meta))
    rendered = grammar.render(turns)
    between, closing = grammar.before_frame(Cursor("frame")), grammar.before_decision
    step = between[len(closing) :] + [grammar.placeholder_id] * grammar.spec.num_frame_tokens + closing

    def logits(ids: list[int], num_frames: int, wanted: Tensor) -> Tensor:
        embeds = embed_dialogues(
            model.decoder,
            model.connector,
            torch.tensor([ids], device=model.device),
            [features_TNF[:num_frames]],
            grammar.placeholder_id,
        )
        return model.decoder(inputs_embeds=embeds, logits_to_keep=wanted.to(model.device)).logits[0]

    def look_ahead(num_tokens: int, first_frame: int, count: int) -> Tensor:
        ids = rendered.input_ids[:num_tokens] + step * count
        return logits(ids, first_frame + count, torch.arange(num_tokens - 1 + len(step), len(ids), len(step)))

    learned = torch.tensor([i for i, label in enumerate(rendered.labels) if label != IGNORE_ID])
    kept_LV = logits(rendered.input_ids, len(features_TNF), learned).to("cpu", torch.float32)
    full_TV = kept_LV.new_zeros(len(rendered.input_ids), kept_LV.shape[-1])
    full_TV[learned] = kept_LV
    decides_L = torch.tensor(rendered.decides)[learned]
    silence_probs = kept_LV[decides_L].softmax(-1)[:, grammar.silence_id]
    targets = torch.tensor(rendered.labels)[learned][decides_L]
    has_replies = any(isinstance(turn, AssistantTurn) for turn in turns)
    return Forced(
        stream_metrics(rendered, full_TV, grammar, threshold, look_ahead) if has_replies else NO_TURNS,
        silence_probs.tolist(),
        (targets == grammar.silence_id).tolist(),
    )

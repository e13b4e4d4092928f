"""The paper's teacher-forced metrics: how well and how timely a model would have spoken (VideoLLM-online, section 4.1).

A dialogue is run once with its true replies in place; each turn, up to the end of a reply, is judged by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from model.grammar import IGNORE_ID, Grammar, Rendered

LookAhead = Callable[[int, int, int], Tensor]
"""(T, F, K) → logits K×V after each of K frames appended, silently, to the first T tokens, which hold F frames."""


@dataclass(frozen=True)
class StreamMetrics:
    """Averages over the turns that have the labels for it; a dialogue without such turns scores perfectly.

    lm_ppl: exp of the mean cross-entropy on a turn's words. time_diff_frames: frames between the first moment the
    model would speak and the right one. fluency: share of a turn's labels met in order. lm_correctness: share of
    a turn's words right before the first wrong one.
    """

    lm_ppl: float
    time_diff_frames: float
    fluency: float
    lm_correctness: float


def stream_metrics(
    rendered: Rendered,
    logits_TV: Tensor,
    grammar: Grammar,
    threshold: float,
    look_ahead: LookAhead,
    *,
    remarks_only: bool = False,
) -> StreamMetrics:
    """The four metrics of one dialogue at one silence threshold.

    remarks_only: leave out turns that a question ends. The paper counts on after them, too, until the model would speak
    by itself, which nobody expects of it there.
    """
    ids_T, labels_T = torch.tensor(rendered.input_ids), torch.tensor(rendered.labels)
    decides_T = torch.tensor(rendered.decides)
    logits_TV = logits_TV.detach().to("cpu", torch.float32)
    is_frame_T = ids_T == grammar.placeholder_id
    stops = rendered.reply_ends
    starts = [0, *stops[:-1]]
    frames = [int(is_frame_T[a:b].sum()) // grammar.spec.num_frame_tokens for a, b in zip(starts, stops, strict=True)]

    ppls, diffs, fluencies, corrects = [], [], [], []
    for turn, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        is_learned_T = labels_T[start:stop] != IGNORE_ID
        is_stream_T = decides_T[start:stop]
        is_word_T = is_learned_T & ~is_stream_T
        if grammar.spec.is_per_frame:  # the first word is the decision to speak
            is_word_T |= is_stream_T & (labels_T[start:stop] != grammar.silence_id)
        is_due = bool((labels_T[start:stop][is_stream_T] != grammar.silence_id).any())
        if remarks_only and not is_due:
            continue
        num_words, num_frames = int(is_word_T.sum()), int(is_stream_T.sum())
        num_right, diff = 0, 0
        if num_words:
            words_WV, targets_W = logits_TV[start:stop][is_word_T], labels_T[start:stop][is_word_T]
            ppls.append(float(F.cross_entropy(words_WV, targets_W).exp()))
            num_right = int((words_WV.argmax(-1) == targets_W).int().cumprod(0).sum())
            corrects.append(num_right / num_words)
        if num_frames:
            speaks_F = _speaks(logits_TV[start:stop][is_stream_T], grammar, threshold)
            if speaks_F.any():
                diff = num_frames - int(speaks_F.int().argmax()) - 1
            elif turn + 1 < len(starts):
                last_frame = start + int(is_stream_T.nonzero()[-1]) + 1
                ahead = min(frames[turn + 1], frames[turn] - 1)
                if ahead > 0:
                    shown = int(is_frame_T[:last_frame].sum()) // grammar.spec.num_frame_tokens
                    logits_KV = look_ahead(last_frame, shown, ahead).detach().to("cpu", torch.float32)
                    late_K = _speaks(logits_KV, grammar, threshold)
                    diff = -(int(late_K.int().argmax()) + 1) if late_K.any() else -ahead
            diffs.append(abs(diff))
        if num_words and num_frames:
            in_order = num_frames + num_right if diff == 0 else num_frames - (diff if diff > 0 else 1)
            fluencies.append(in_order / (num_frames + num_words))
    return StreamMetrics(
        fmean(ppls) if ppls else 1.0,
        fmean(diffs) if diffs else 0.0,
        fmean(fluencies) if fluencies else 1.0,
        fmean(corrects) if corrects else 1.0,
    )


def _speaks(logits_FV: Tensor, grammar: Grammar, threshold: float) -> Tensor:
    """Whether the model would speak after each of F frames."""
    probs_F, winners_F = logits_FV.softmax(-1)[:, grammar.silence_id].tolist(), logits_FV.argmax(-1).tolist()
    return torch.tensor([not grammar.is_silence(*one, threshold) for one in zip(probs_F, winners_F, strict=True)])
